"""TensorBoard: event files, written by PyTorch's SummaryWriter."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fashioncnn.tracking.tracker import Artifacts, Status, TrackedRun, TrackedTrial

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SUFFIX = ".fashioncnn"
"""Ending of the names of event files, by which a resumed run recognizes its own."""


class TensorBoardTracker:
    """Writes event files to a folder; see `Tracker`.

    A run that is resumed writes all of its epochs again into one new file and removes its earlier
    ones, so that no point appears twice.

    Attributes:
        parent: folder of all runs.
        own: whether `parent` is the folder of this run alone.
    """

    def __init__(self, parent: Path, *, own: bool) -> None:
        self.parent, self.own = parent, own
        self._writer: SummaryWriter | None = None
        self._parameters: Mapping[str, Any] = {}

    def start(self, run: TrackedRun) -> None:
        """Begin a run, or continue it without repeating an epoch."""
        self.folder = self._folder(run)
        run.remember(str(self.folder.resolve()))
        self._writer = _open(self.folder)
        self._parameters = run.parameters
        rows = [f"| {key} | {value} |" for key, value in run.parameters.items()]
        self._writer.add_text("settings", "\n".join(["| setting | value |", "|-|-|", *rows]))
        for epoch, metrics in enumerate(run.history, 1):
            _add(self._writer, epoch, metrics)
        self._writer.flush()

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch, counted from 1."""
        writer = self._require()
        _add(writer, epoch, metrics)
        writer.flush()

    def log_trial(self, trial: TrackedTrial) -> None:
        """Add a trial or finalist of the search as a run of its own in the folder of the search."""
        writer = _open(self.folder / f"trial-{trial.key}")
        for epoch, loss in enumerate(trial.curve, 1):
            writer.add_scalar("loss/val", loss, epoch)
        writer.add_text("state", trial.state)
        _add_hyperparameters(writer, trial.parameters, trial.metrics)
        writer.close()

    def finish(self, metrics: Mapping[str, float], artifacts: Artifacts) -> None:
        """Add final metrics and images; files and model are named, since it stores none."""
        writer = self._require()
        _add_hyperparameters(writer, self._parameters, metrics)
        for name, path in artifacts.images.items():
            if path.exists():
                with Image.open(path) as image:
                    writer.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")
        paths = [*artifacts.files, *([artifacts.model] if artifacts.model else [])]
        lines = [f"- {path.resolve()}" for path in paths if path.exists()]
        writer.add_text("files", "\n".join(lines))
        writer.flush()

    def close(self, status: Status) -> None:  # noqa: ARG002
        """Close the file."""
        self._require().close()

    def _folder(self, run: TrackedRun) -> Path:
        """Return the folder of the run: that of an earlier process, if it is where it should be.

        A run may have been moved or come from others, so its files do not decide where to write.
        """
        if self.own:
            return self.parent
        if run.identity is not None:
            earlier = Path(run.identity).resolve()
            if self.parent.resolve() in earlier.parents and earlier.parent.exists():
                return earlier
        folder, number = self.parent / run.name, 2
        while folder.exists():
            folder, number = self.parent / f"{run.name}-{number}", number + 1
        return folder

    def _require(self) -> SummaryWriter:
        assert self._writer is not None  # noqa: S101 - start comes first
        return self._writer


def _open(folder: Path) -> SummaryWriter:
    """Return a writer to a folder, without the files of an earlier process of this run."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from torch.utils.tensorboard import SummaryWriter

    for path in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        path.unlink()
    return SummaryWriter(str(folder), filename_suffix=SUFFIX)


def _add(writer: SummaryWriter, epoch: int, metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        writer.add_scalar(name, value, epoch)


def _add_hyperparameters(
    writer: SummaryWriter, parameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Add a row of TensorBoard's table of hyper-parameters, in the file of the run itself."""
    from torch.utils.tensorboard.summary import hparams

    simple = {
        key: value if isinstance(value, bool | int | float) else str(value)
        for key, value in parameters.items()
    }
    for summary in hparams(simple, dict(metrics)):  # type: ignore[no-untyped-call]
        file_writer: Any = writer.file_writer
        file_writer.add_summary(summary)
    for name, value in metrics.items():
        writer.add_scalar(name, value, 0)
