"""The predictions for one shard: a Parquet file that appears complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fashioncnn.cluster.inputs import Input
from fashioncnn.cluster.job import Job, utf8
from fashioncnn.errors import DataError
from fashioncnn.files import atomic_file
from fashioncnn.inference.counts import Counts
from fashioncnn.inference.predictor import Prediction
from fashioncnn.reading import open_regular
from fashioncnn.reporting.predictions import column_names, to_record, to_row

KEY = b"fashioncnn"
"""Key of the summary in the metadata of a part."""
TYPES = {"code": pa.int32(), "probability": pa.float64(), "confidence": pa.float64()}
TYPES.update(abstained=pa.bool_(), several_garments=pa.bool_())
"""Types of columns, by their name without the rank; others are strings."""


@dataclass
class ShardSummary(Counts):
    """Numbers of the predictions for a shard.

    Attributes:
        shard: its number.
    """

    shard: int = field(kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values, the number of the shard first."""
        return {"shard": self.shard, **asdict(self)}


class PartWriter:
    """Collects the rows of a shard and writes them.

    The columns are those of ``--format csv``, after ``index``, the position of the image in the
    job.

    Args:
        job: whose predictions these are.
        shard: its number.
        labels: names of the model's classes.
    """

    def __init__(self, job: Job, shard: int, labels: tuple[str, ...]) -> None:
        self.job, self.labels = job, labels
        self.summary = ShardSummary(shard=shard)
        self._top = min(job.top, len(labels))
        self._rows: list[list[Any]] = []

    def add(self, prediction: Prediction) -> None:
        """Add the prediction for the next image."""
        self.summary.count(prediction, utf8(prediction.source))
        self._rows.append(to_row(to_record(prediction, self.labels, self._top), self._top))

    def write(self, path: Path) -> None:
        """Write the part, atomically; raises `WriteError`."""
        first = self.summary.shard * self.job.shard_size
        schema = _schema(self._top)
        columns: list[Sequence[Any]] = [range(first, first + len(self._rows))]
        columns += list(zip(*self._rows, strict=True))
        arrays = [
            pa.array(map(_storable, values), kind.type)
            for values, kind in zip(columns, schema, strict=True)
        ]
        document = json.dumps({"job": self.job.id, **self.summary.to_json()})
        table = pa.table(arrays, schema=schema.with_metadata({KEY: document}))
        with atomic_file(path) as file:
            pq.write_table(table, file, compression="zstd")


def read_summary(path: Path, job_id: str) -> ShardSummary | None:
    """Return the summary of a part; None if it is missing, damaged, or of another job."""
    try:
        with open_regular(path) as file:
            return _summary(pq.read_schema(file), job_id)
    except (OSError, pa.ArrowException):
        return None


def verify_part(path: Path, job: Job, shard: int, inputs: Sequence[Input]) -> ShardSummary:
    """Return the summary of a part after a check that it has each image of its shard once.

    Args:
        path: of the part.
        job: whose predictions it should have.
        shard: its number.
        inputs: images of the shard.

    Raises:
        DataError: it is missing or damaged, or has other images.
    """
    first = shard * job.shard_size
    try:
        with open_regular(path) as file:
            table = pq.read_table(file, columns=["index", "source"])
    except (OSError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read ({problem}); {REPEAT}") from None
    summary = _summary(table.schema, job.id)
    expected = [utf8(given.name) for given in inputs]
    if (
        summary is None
        or summary.images != len(inputs)
        or table["index"].to_pylist() != list(range(first, first + len(inputs)))
        or table["source"].to_pylist() != expected
    ):
        raise DataError(f"{path}: does not have each image of its shard once; {REPEAT}")
    return summary


REPEAT = "remove it, and run the same command again"


def _schema(top: int) -> pa.Schema:
    fields = [("index", pa.int64())]
    for name in column_names(top):
        kind = name.rpartition("_")[0] if name[-1].isdigit() else name
        fields.append((name, TYPES.get(kind, pa.string())))
    return pa.schema(fields)


def _storable(value: Any) -> Any:
    return utf8(value) if isinstance(value, str) else value


def _summary(schema: pa.Schema, job_id: str) -> ShardSummary | None:
    try:
        values = json.loads((schema.metadata or {})[KEY])
        return ShardSummary(**values) if values.pop("job") == job_id else None
    except (KeyError, TypeError, ValueError):
        return None
