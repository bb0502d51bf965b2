"""What an actor does: open the model once, predict shards, write their parts."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from fashioncnn.cluster.inputs import read_inputs
from fashioncnn.cluster.job import Job, JobFolder
from fashioncnn.cluster.model import ModelBytes
from fashioncnn.cluster.parts import PartWriter, ShardSummary, read_summary
from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.files import create_exclusive, make_folder
from fashioncnn.inference.predictor import Predictor

MAX_ATTEMPTS = 5
"""Attempts at a shard. Several that do not end are caused by the shard, not by the machines."""

Row = dict[str, Any]


def remove_attempts(folder: JobFolder) -> None:
    """Forget all attempts at shards."""
    shutil.rmtree(folder.attempts, ignore_errors=True)


class ShardPredictor:
    """Predicts shards; the class of an actor of Ray Data.

    An expected error is part of the result, so that the command can report it in one line.

    Args:
        folder: of the job; all machines have to see it under this path.
        job: the job.
        get_model: returns the model.
        remedy: what a message about an image over the limit says to do.
    """

    def __init__(
        self, folder: str, job: Job, get_model: Callable[[], ModelBytes], remedy: str
    ) -> None:
        self.folder, self.job = JobFolder(Path(folder)), job
        self._get_model, self._remedy = get_model, remedy

    def __call__(self, row: Row) -> Row:
        """Return the summary of the shard in ``row["shard"]`` as JSON, or an error."""
        try:
            summary = self.predict(int(row["shard"]))
        except FashionCNNError as error:
            return {"summary": "", "error": str(error), "exit_code": error.exit_code}
        return {"summary": json.dumps(summary.to_json()), "error": "", "exit_code": 0}

    def predict(self, shard: int) -> ShardSummary:
        """Write the part of a shard, unless it is there, and return its summary.

        Raises:
            FashionCNNError: this machine does not see the files of the job, the model cannot be
                opened, or the part cannot be written.
        """
        path = self.folder.part(shard)
        if done := read_summary(path, self.job.id):
            return done
        predictor = self._predictor
        attempts = self._begin(shard)
        folder = Path(self.job.folder)
        inputs = read_inputs(self.folder.input_list(shard))
        sources = (given.to_source(folder) for given in inputs)
        part = PartWriter(self.job, shard, predictor.spec.labels)
        predictions = predictor.predict_sources(sources, self.job.max_pixels, self._remedy, 1)
        with closing(predictions):
            for prediction in predictions:
                part.add(prediction)
        part.write(path)
        for attempt in attempts:
            attempt.unlink(missing_ok=True)
        return part.summary

    @cached_property
    def _predictor(self) -> Predictor:
        self._require_files()
        return self._get_model().open()

    def _require_files(self) -> None:
        """Raise `UsageError` unless this machine sees the job and its images."""
        shared = "storage that all machines of the cluster share"
        host, probe = socket.gethostname(), Path(self.job.folder) / self.job.probe
        try:
            is_same = self.folder.read_job().id == self.job.id
        except FashionCNNError:
            is_same = False
        if not is_same:
            raise UsageError(
                f"--out {self.folder.path}: not visible on the machine {host}; name a folder on "
                f"{shared}"
            )
        if not (probe.exists() or probe.is_symlink()):
            raise UsageError(f"{probe}: not visible on the machine {host}; name images on {shared}")

    def _begin(self, shard: int) -> list[Path]:
        """Note an attempt at a shard, and return the files of all attempts.

        Raises:
            FashionCNNError: too many attempts did not end.
        """
        make_folder(self.folder.attempts)
        attempts: list[Path] = []
        for number in range(MAX_ATTEMPTS):
            attempts.append(self.folder.attempts / f"{shard:06}-{number}")
            if create_exclusive(attempts[-1], b""):
                return attempts
        raise FashionCNNError(
            f"{self.folder.input_list(shard)}: {MAX_ATTEMPTS} attempts at its images did not end; "
            "a machine has too little memory, or an image crashes its decoder"
        )
