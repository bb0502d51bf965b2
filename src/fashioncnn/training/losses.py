"""The training loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.training.batches import Batch


@dataclass(frozen=True)
class Loss:
    """Cross-entropy with label smoothing, class weights and knowledge distillation.

    Attributes:
        label_smoothing: of the labels; teachers' probabilities are not smoothed.
        class_weights: (classes,) float32, or None.
        temperature: softmax temperature of teachers and student in the distillation term
            (arXiv:1503.02531).
    """

    label_smoothing: float = 0.0
    class_weights: Tensor | None = None
    temperature: float = 1.0

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, in nats.

        Args:
            logits: (b, classes) float32.
            batch: with (b,) labels.
        """
        if batch.offsets is not None:
            logits = logits + batch.offsets
        if batch.allowed is not None:
            return partial_label_losses(logits, batch.allowed, self.label_smoothing).mean()
        if batch.teacher_probabilities is not None:
            return self._distillation(logits, batch, batch.teacher_probabilities)
        if batch.targets is None or self.class_weights is None:
            return self._cross_entropy(logits, batch, reduction="mean")
        # PyTorch averages over images here; as for labels, the mean is weighted.
        return self._cross_entropy(logits, batch, reduction="sum") / self.weight(batch)

    def weight(self, batch: Batch) -> Tensor:
        """Return the sum of the weights of a batch in the mean that `__call__` returns, ().

        Without class weights, it is the number of images.
        """
        if self.class_weights is None or batch.allowed is not None:
            return torch.tensor(float(len(batch)), device=batch.labels.device)
        labels = (
            self.class_weights[batch.labels]
            if batch.targets is None
            else batch.targets @ self.class_weights
        )
        if batch.teacher_probabilities is None:
            return labels.sum()
        alpha = batch.teacher_weights
        assert alpha is not None  # noqa: S101 - for the type checker
        teachers = batch.teacher_probabilities @ self.class_weights
        return ((1 - alpha) * labels + alpha * teachers).sum()

    def _cross_entropy(self, logits: Tensor, batch: Batch, reduction: str) -> Tensor:
        return F.cross_entropy(
            logits,
            batch.labels if batch.targets is None else batch.targets,
            self.class_weights,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def _distillation(self, logits: Tensor, batch: Batch, probabilities: Tensor) -> Tensor:
        """Return (1 - alpha) · label loss + alpha · T² · teacher loss, alpha per image."""
        alpha, temperature = batch.teacher_weights, self.temperature
        assert alpha is not None  # noqa: S101 - for the type checker
        label_losses = self._cross_entropy(logits, batch, reduction="none")
        teacher_losses = temperature**2 * F.cross_entropy(
            logits / temperature, probabilities, self.class_weights, reduction="none"
        )
        losses = (1 - alpha) * label_losses + alpha * teacher_losses
        return losses.mean() if self.class_weights is None else losses.sum() / self.weight(batch)


def partial_label_losses(logits: Tensor, allowed: Tensor, label_smoothing: float) -> Tensor:
    """Return the loss of each image with a set of correct classes, (b,) in nats.

    It is the negative logarithm of the summed probability of the set, the classifier-consistent
    loss of partial labels (Feng et al., arXiv:2007.08929); for one class, it is the cross-entropy.
    Label smoothing has the same form as for one class (arXiv:1512.00567): with its weight, the loss
    is the cross-entropy of the uniform distribution. This is the whole loss of an image outside of
    the classes, as in outlier exposure (arXiv:1812.04606).

    Args:
        logits: (b, classes) float32.
        allowed: (b, classes) bool, the correct classes; none for an image outside of them.
        label_smoothing: weight of the uniform distribution, in [0, 1).
    """
    log_probabilities = logits.log_softmax(1)
    is_outside = ~allowed.any(1)
    summed = allowed | is_outside.unsqueeze(1)  # never empty: log(0) has no gradient
    of_set = -log_probabilities.masked_fill(~summed, -torch.inf).logsumexp(1)
    uniform = -log_probabilities.mean(1)
    return torch.where(is_outside, uniform, torch.lerp(of_set, uniform, label_smoothing))
