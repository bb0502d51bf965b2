import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.seeding import dropout_seed, epoch_order
from fashioncnn.errors import DivergedError
from fashioncnn.models import build_model
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.loop import Progress, Recipe, _loss, fit

PREPROCESSING = Preprocessing(28, 0.0, 1.0, "fashion")


def make_model():
    torch.manual_seed(1)
    return build_model(FashionCNNConfig(channels=(4, 8), hidden=16), 28, 10)


def run_loop(small, epochs, learning_rate, optimizer=torch.optim.SGD):
    torch.set_num_threads(1)
    model = make_model()
    recipe = Recipe(
        epochs=epochs,
        batch_size=64,
        seed=5,
        precision="fp32",
        label_smoothing=0.0,
        learning_rate=learning_rate,
    )
    results, steps = [], []
    fit(
        model,
        optimizer(model.parameters(), lr=1.0),
        PREPROCESSING,
        torch.from_numpy(small.train.images).unsqueeze(1),
        torch.from_numpy(small.train.labels.astype(np.int64)),
        recipe,
        Progress(),
        on_step=lambda p: steps.append(p.step),
        on_epoch=results.append,
    )
    return model, results, steps


def test_loop_against_a_plain_one(small):
    """The same steps, written out once more without any of the loop's machinery."""
    model, results, steps = run_loop(small, 2, lambda _: 0.05)
    twin = make_model()
    images = torch.from_numpy(small.train.images).unsqueeze(1).float() / 255
    labels = torch.from_numpy(small.train.labels.astype(np.int64))
    losses = []
    step = 0
    for epoch in range(2):
        total = 0.0
        for batch in np.split(epoch_order(5, epoch, 300), range(64, 300, 64)):
            torch.manual_seed(dropout_seed(5, step))
            loss = F.cross_entropy(twin(images[batch]), labels[batch])
            twin.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in twin.parameters():
                    parameter.sub_(0.05 * parameter.grad)
            total += loss.item() * len(batch)
            step += 1
        losses.append(total / 300)
    assert steps == list(range(1, 11))
    assert [r.epoch for r in results] == [1, 2]
    assert [r.loss for r in results] == pytest.approx(losses, rel=1e-5)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_loop_learns_what_it_learnt_before(small):
    """A golden curve that no refactor may move."""
    _, results, _ = run_loop(small, 3, lambda _: 0.01, torch.optim.Adam)
    assert [r.loss for r in results] == pytest.approx([2.3111, 2.2965, 2.2899], abs=2e-3)
    assert all(r.n == 300 for r in results)


def test_learning_rate_is_asked_for_every_step(small):
    asked = []

    def nothing(step):
        asked.append(step)
        return 0.0

    before = list(make_model().parameters())
    model, _, _ = run_loop(small, epochs=1, learning_rate=nothing)
    assert asked == list(range(5))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_loss_that_is_not_finite_stops_the_run(small):
    with pytest.raises(DivergedError, match=r"nan|inf"):
        run_loop(small, 30, lambda _: 1e30)


def test_progress_sums_what_it_was_told():
    progress = Progress()
    for n in (3, 5):
        progress.add(torch.tensor(0.5), torch.tensor(2), n)
    assert (progress.step, progress.position) == (2, 8)
    result = progress.finish_epoch()
    assert (result.loss, result.accuracy, result.n) == (0.5, 0.5, 8)
    assert (progress.epoch, progress.position, progress.correct) == (1, 0, 0)


def test_a_loss_that_is_not_finite_is_found_when_settled():
    progress = Progress()
    progress.add(torch.tensor(math.nan), torch.tensor(0), 4)
    with pytest.raises(DivergedError, match="epoch 1, by step 1"):
        progress.settle()


def test_the_loss_of_mixed_images_is_the_mix_of_their_losses():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 10, generator=generator)
    target = torch.tensor([0, 1, 2, 3, 4, 5])
    share = torch.tensor([1.0, 0.7, 0.2, 0.5, 0.0, 0.9])
    own = F.cross_entropy(logits, target, reduction="none", label_smoothing=0.1)
    partner = F.cross_entropy(logits, target.flip(0), reduction="none", label_smoothing=0.1)
    expected = (share * own + (1 - share) * partner).mean()
    torch.testing.assert_close(_loss(logits, target, share, None, None, 0.1), expected)
    plain = F.cross_entropy(logits, target, label_smoothing=0.1)
    torch.testing.assert_close(_loss(logits, target, torch.ones(6), None, None, 0.1), plain)
    torch.testing.assert_close(_loss(logits, target, None, None, None, 0.1), plain)


def test_images_outside_of_all_classes_are_to_be_any_of_them():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    outside = torch.tensor([True, False, False, True, False, False])
    each = F.cross_entropy(logits, target, reduction="none")
    each = torch.where(outside, -logits.log_softmax(1).mean(1), each)
    torch.testing.assert_close(_loss(logits, target, None, outside, None, 0.0), each.mean())
    inside = torch.zeros(6) > 0
    plain = _loss(logits, target, None, None, None, 0.1)
    torch.testing.assert_close(_loss(logits, target, None, inside, None, 0.1), plain)


def test_class_weights_weigh_mixed_labels_as_they_do_whole_ones():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(6, 10, generator=generator), torch.tensor([0, 1, 2, 3, 4, 5])
    weights = torch.linspace(0.2, 5, 10)
    plain = F.cross_entropy(logits, target, weights)
    torch.testing.assert_close(_loss(logits, target, torch.ones(6), None, weights, 0.0), plain)


def test_labels_are_smoothed_and_the_answers_of_teachers_are_not():
    generator = torch.Generator().manual_seed(0)
    logits, answers = (torch.randn(6, 4, generator=generator) for _ in range(2))
    answers, target = answers.softmax(1), torch.tensor([0, 1, 2, 3, 0, 1])
    label = F.cross_entropy(logits, target, label_smoothing=0.1)
    answer = -(answers * logits.log_softmax(1)).sum(1).mean()
    taught = _loss(logits, target, None, None, None, 0.1, answers, 0.7)
    torch.testing.assert_close(taught, 0.3 * label + 0.7 * answer)
