"""The training loss against formulas in float64."""

import pytest
import torch
import torch.nn.functional as F

from fashioncnn.training.batches import Batch
from fashioncnn.training.losses import Loss, partial_label_losses

N, CLASSES = 6, 4
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(N, CLASSES, generator=GENERATOR, dtype=torch.float64)
TARGETS = torch.randn(N, CLASSES, generator=GENERATOR, dtype=torch.float64).softmax(1)
TEACHER_LOGITS = torch.randn(N, CLASSES, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
CLASS_WEIGHTS = torch.tensor([0.2, 1.0, 2.5, 0.7], dtype=torch.float64)
IMAGES = torch.zeros(N, 1, 2, 2)


def batch(targets=None, teacher=None, alpha=None):
    """Return a batch; `alpha` is the teachers' weight, one value or one for each image."""
    if teacher is not None:
        alpha = torch.as_tensor(alpha, dtype=torch.float64).expand(N)
    return Batch(IMAGES, LABELS, targets, teacher, alpha)


def smoothed(labels, smoothing):
    """Return targets, as defined in arXiv:1512.00567."""
    return (1 - smoothing) * F.one_hot(labels, CLASSES).double() + smoothing / CLASSES


def cross_entropies(logits, targets, class_weights=None):
    """Return -Σ w p log q of each image."""
    terms = targets * logits.log_softmax(1)
    return -(terms if class_weights is None else terms * class_weights).sum(1)


def test_loss_of_labels_is_the_mean_cross_entropy():
    expected = -LOGITS.log_softmax(1)[torch.arange(N), LABELS].mean()
    torch.testing.assert_close(Loss()(LOGITS, batch()), expected)


def test_labels_are_smoothed():
    expected = cross_entropies(LOGITS, smoothed(LABELS, 0.1)).mean()
    torch.testing.assert_close(Loss(label_smoothing=0.1)(LOGITS, batch()), expected)


def test_loss_of_target_probabilities():
    expected = cross_entropies(LOGITS, TARGETS).mean()
    torch.testing.assert_close(Loss()(LOGITS, batch(TARGETS)), expected)
    mixed = 0.9 * TARGETS + 0.1 / CLASSES
    expected = cross_entropies(LOGITS, mixed).mean()
    torch.testing.assert_close(Loss(label_smoothing=0.1)(LOGITS, batch(TARGETS)), expected)


def test_loss_of_one_hot_targets_equals_that_of_labels():
    one_hot = F.one_hot(LABELS, CLASSES).double()
    for smoothing in (0.0, 0.1):
        loss = Loss(smoothing)
        torch.testing.assert_close(loss(LOGITS, batch(one_hot)), loss(LOGITS, batch()))


def test_class_weights_give_a_weighted_mean_over_images():
    weights = CLASS_WEIGHTS[LABELS]
    losses = -LOGITS.log_softmax(1)[torch.arange(N), LABELS]
    expected = (weights * losses).sum() / weights.sum()
    torch.testing.assert_close(Loss(class_weights=CLASS_WEIGHTS)(LOGITS, batch()), expected)


def test_class_weights_apply_to_target_probabilities():
    loss = Loss(class_weights=CLASS_WEIGHTS)
    expected = cross_entropies(LOGITS, TARGETS, CLASS_WEIGHTS).sum()
    expected /= (TARGETS @ CLASS_WEIGHTS).sum()
    torch.testing.assert_close(loss(LOGITS, batch(TARGETS)), expected)
    one_hot = F.one_hot(LABELS, CLASSES).double()
    torch.testing.assert_close(loss(LOGITS, batch(one_hot)), loss(LOGITS, batch()))


def test_distillation_at_temperature_one_is_cross_entropy_with_combined_targets():
    teacher = TEACHER_LOGITS.softmax(1)
    loss = Loss(label_smoothing=0.1)
    combined = 0.3 * smoothed(LABELS, 0.1) + 0.7 * teacher
    expected = cross_entropies(LOGITS, combined).mean()
    torch.testing.assert_close(loss(LOGITS, batch(teacher=teacher, alpha=0.7)), expected)


def test_gradient_of_distillation_is_that_of_the_divergence_at_its_temperature():
    """(1 - α) CE + α T² KL(teacher ‖ student at T), equation of arXiv:1503.02531, section 2."""
    temperature, alpha = 2.0, 0.6
    teacher = (TEACHER_LOGITS / temperature).softmax(1)
    logits = LOGITS.clone().requires_grad_()
    loss = Loss(temperature=temperature)(logits, batch(teacher=teacher, alpha=alpha))
    divergence = F.kl_div(
        (logits / temperature).log_softmax(1), teacher, reduction="batchmean", log_target=False
    )
    expected = (1 - alpha) * F.cross_entropy(logits, LABELS)
    expected = expected + alpha * temperature**2 * divergence
    (gradient,) = torch.autograd.grad(loss, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient)
    entropy = cross_entropies(teacher.log(), teacher).mean()
    torch.testing.assert_close(loss - expected, alpha * temperature**2 * entropy)


def test_weight_of_teachers_differs_by_image():
    teacher = TEACHER_LOGITS.softmax(1)
    alpha = torch.tensor([0.0, 0.5, 1.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    combined = (1 - alpha)[:, None] * TARGETS + alpha[:, None] * teacher
    expected = cross_entropies(LOGITS, combined).mean()
    loss = Loss()(LOGITS, batch(TARGETS, teacher, alpha))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("targets", [None, TARGETS], ids=["labels", "targets"])
def test_class_weights_apply_to_labels_and_teachers(targets):
    teacher, loss = TEACHER_LOGITS.softmax(1), Loss(class_weights=CLASS_WEIGHTS)
    labels = F.one_hot(LABELS, CLASSES).double() if targets is None else targets
    combined = 0.3 * labels + 0.7 * teacher
    expected = cross_entropies(LOGITS, combined, CLASS_WEIGHTS).sum()
    expected /= (combined @ CLASS_WEIGHTS).sum()
    result = loss(LOGITS, batch(targets, teacher, 0.7))
    torch.testing.assert_close(result, expected)
    without = loss(LOGITS, batch(targets, teacher, 0.0))
    torch.testing.assert_close(without, loss(LOGITS, batch(targets)))


ALLOWED = torch.tensor(
    [[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1], [0] * 4]
)


def test_loss_of_sets_is_the_logarithm_of_their_probability():
    allowed = ALLOWED.bool()
    probabilities = LOGITS.softmax(1)
    uniform = -probabilities.log().mean(1)
    expected = [
        uniform[i] if not row.any() else 0.9 * -probabilities[i][row].sum().log() + 0.1 * uniform[i]
        for i, row in enumerate(allowed)
    ]
    losses = partial_label_losses(LOGITS, allowed, 0.1)
    torch.testing.assert_close(losses, torch.stack(expected))
    values = Batch(IMAGES, LABELS, allowed=allowed)
    torch.testing.assert_close(Loss(label_smoothing=0.1)(LOGITS, values), losses.mean())


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_of_sets_of_one_class_is_that_of_labels(label_smoothing):
    allowed = F.one_hot(LABELS, CLASSES).bool()
    loss = Loss(label_smoothing)
    with_sets = loss(LOGITS, Batch(IMAGES, LABELS, allowed=allowed))
    torch.testing.assert_close(with_sets, loss(LOGITS, batch()))


def test_gradients_of_images_outside_are_finite():
    logits = LOGITS.clone().requires_grad_()
    partial_label_losses(logits, ALLOWED.bool(), 0.0).sum().backward()
    assert logits.grad.isfinite().all()
    uniform = (LOGITS.softmax(1) - 1 / CLASSES)[3]
    torch.testing.assert_close(logits.grad[3], uniform)


def test_offsets_are_added_to_the_logits():
    offsets = torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64).expand(N, CLASSES)
    adjusted = Loss(0.1)(LOGITS, Batch(IMAGES, LABELS, offsets=offsets))
    torch.testing.assert_close(adjusted, Loss(0.1)(LOGITS + offsets, batch()))
