"""Training: the loop, losses, optimizers, distillation, checkpoints, and whole runs."""
