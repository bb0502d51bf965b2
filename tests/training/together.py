"""What several processes train together, in tests: `together.py FOLDER [VARIANT…]`.

Each process runs `main`. It writes to the folder what `test_distributed.py` checks.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fashioncnn.config import resolve
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.errors import DataError, FashionCNNError, InterruptedRun
from fashioncnn.models import build_model
from fashioncnn.runs import RunFolder, create_run
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.distributed import StopTogether
from fashioncnn.training.initialize import create_batches, create_state
from fashioncnn.training.loop import fit
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.ranks import ALONE, ReportedError, connected
from fashioncnn.training.run import train_model

CPU = torch.device("cpu")
TINY = ["model.channels=[4, 8]", "model.hidden=16"]
MIXING = ["augmentation.mixup=0.4", "augmentation.cutmix=1.0"]
OUTLIERS = ["augmentation.outlier_exposure=0.3"]
GEOMETRY = [
    *("augmentation.flip=0.5", "augmentation.shift=2", "augmentation.rotation=10"),
    *("augmentation.erasing=0.5", "augmentation.noise=0.1", "augmentation.blur=1"),
]
DISTILLATION = ["distillation.ensemble_size=1", "distillation.temperature=2"]
VARIANTS = {
    "plain": [],
    "augmented": GEOMETRY,
    "photographs": ["augmentation.photograph=0.5"],
    "mixing": MIXING,
    "label smoothing": ["training.label_smoothing=0.1"],
    "logit adjustment": ["training.logit_adjustment=1.0"],
    "outlier exposure": [*OUTLIERS, *MIXING],
    "class weights": ["data.class_weights=auto", "training.label_smoothing=0.1"],
    "class weights, mixing": ["data.class_weights=auto", *MIXING],
    "distillation": DISTILLATION,
    "everything": [
        *("data.class_weights=auto", "training.label_smoothing=0.1"),
        *(*DISTILLATION, *GEOMETRY, *MIXING, *OUTLIERS),
    ],
    "rehearsal": ["data.rehearsal=5", "training.label_smoothing=0.1", *OUTLIERS],
}
STEPS = 3
BATCH_SIZE = 20
IMAGES = (STEPS - 1) * BATCH_SIZE + 1
"""The last batch has one image, so that there are ranks without any."""


class InFloat64(nn.Module):
    """A network that computes in float64."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, images):
        return self.network(images.double())


class Float64Batches:
    """Batches whose targets and weights are float64."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def epoch(self, epoch, start=0):
        for batch in self.batches.epoch(epoch, start):
            wide = batch.map(lambda t: t.double() if t.is_floating_point() else t)
            yield replace(wide, images=batch.images)


class RecordGradients(Callback):
    """Keeps loss and gradients of each step."""

    def __init__(self):
        self.gradients = []

    def on_step(self, state):
        parameters = state.network.parameters()
        self.gradients.append(torch.cat([p.grad.flatten().clone() for p in parameters]))


def teacher():
    """Return the probabilities of a random network as a function of images."""
    torch.manual_seed(1)
    network = InFloat64(build_model(FashionCNNConfig(channels=(4,), hidden=8, dropout=0.0), 28, 10))

    def predict(images):
        with torch.no_grad():
            return network(images / 255).softmax(1)

    return predict


def subset(n):
    """Return `n` training images, in classes of different size."""
    sketches = draw_sketches()
    positions = np.flatnonzero(sketches.train.labels < 7)[: n - n // 4]
    others = np.flatnonzero(sketches.train.labels >= 7)[: n // 4]
    return replace(sketches, train=sketches.train.subset(np.concatenate([positions, others])))


def resolved(dataset, assignments, **flags):
    flags = {"batch_size": BATCH_SIZE, "device": "cpu", "kernels": "torch", **flags}
    settings = resolve(flags=flags, assignments=[*TINY, *assignments], environment={})
    return prepare_settings(settings, dataset)


def gradients(variant, ranks=ALONE):
    """Return loss and gradients of the first steps, in float64 and without dropout."""
    dataset = subset(IMAGES)
    if variant == "rehearsal":
        dataset = replace(dataset, rehearsal=draw_sketches().test)
    assignments = [*VARIANTS[variant], "model.dropout=0.0"]
    settings = resolved(dataset, assignments, epochs=1)
    state = create_state(settings, dataset.train, dataset, CPU, ranks=ranks)
    teachers = teacher() if variant in ("distillation", "everything") else None
    batches = create_batches(settings, dataset.train, dataset, CPU, teachers, ranks)
    weights = state.loss.class_weights
    loss = replace(state.loss, class_weights=None if weights is None else weights.double())
    state = replace(state, network=InFloat64(state.network), loss=loss)
    recorder = RecordGradients()
    fit(state, Float64Batches(batches), [recorder])
    assert state.progress.step == len(recorder.gradients) == STEPS
    return torch.stack(recorder.gradients), state.history[0]["train_loss"]


def relative_error(values, expected):
    return float((values - expected).norm() / expected.norm())


def compare_gradients(variant, ranks):
    """Return relative errors of gradients and loss against a single process."""
    values, loss = gradients(variant, ranks)
    expected, expected_loss = gradients(variant)
    errors = [relative_error(v, e) for v, e in zip(values, expected, strict=True)]
    return {"gradients": errors, "loss": abs(loss / expected_loss - 1)}


FEATURES = [
    *("model.name=residual_cnn", "model.channels=[4, 8]", "model.blocks=[0, 1]"),
    *("model.dropout=0.2", "optimizer.name=muon", "optimizer.learning_rate=0.02"),
    *("optimizer.adam_learning_rate=0.005", "training.ema_decay=0.9", "data.validation=40"),
    *("training.select=best_val", "runtime.precision=bf16", "distillation.ensemble_size=1"),
    *(*MIXING, *GEOMETRY),
]
"""Of a training that is interrupted and resumed."""


def train(folder, ranks, stop_after=None):
    """Train a run, or resume it; interrupt it after some steps of a network."""
    dataset = subset(200)
    flags = {"epochs": 2, "batch_size": 48, "device": "cpu", "kernels": "torch"}
    settings = resolve(flags=flags, assignments=FEATURES, environment={})
    settings = prepare_settings(settings, dataset, world_size=ranks.world_size)
    run = None
    if ranks.is_first:
        run = RunFolder(folder) if folder.exists() else create_run(folder, settings)
    steps = iter(range(1, 1000))
    error = InterruptedRun("stopped")
    stop = StopTogether(
        ranks, lambda: error if next(steps) == stop_after and ranks.rank == 1 else None, error
    )
    try:
        train_model(settings, dataset, run=run, stop=stop, ranks=ranks)
    except Exception as stopped:
        if stop_after is None or stopped.exit_code != error.exit_code:
            raise


def disagree(ranks):
    """Return the errors of the first process for results that differ and for one that fails."""

    def fail():
        if not ranks.is_first:
            raise DataError("no such folder")

    errors = []
    for prepare in (lambda: ranks.rank, fail):
        try:
            ranks.agree(prepare, lambda rank: {"training": {"seed": rank}})
        except FashionCNNError as error:
            assert ranks.is_first or isinstance(error, ReportedError)
            errors.append([type(error).__name__, str(error), error.exit_code])
    assert ranks.agree(lambda: 7, lambda n: {"n": n}) == 7
    return errors


def main(folder, variants):
    """Compare gradients, and train three runs: uninterrupted, resumed, and interrupted."""
    torch.set_num_threads(1)
    with connected() as ranks:
        errors = {variant: compare_gradients(variant, ranks) for variant in variants}
        train(folder / "whole", ranks)
        train(folder / "resumed", ranks, stop_after=3)  # in the teacher
        train(folder / "resumed", ranks, stop_after=6)  # in the student
        if ranks.is_first:
            shutil.copytree(folder / "resumed", folder / "interrupted")
        train(folder / "resumed", ranks)
        disagreements = disagree(ranks)
        if ranks.is_first:
            (folder / "errors.json").write_text(json.dumps(errors))
            (folder / "disagreements.json").write_text(json.dumps(disagreements))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or VARIANTS)
