"""Learning: the loop, its optimisers and schedules, its checkpoints, and a whole run."""
