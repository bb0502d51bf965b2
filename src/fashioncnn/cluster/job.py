"""A job: what is predicted, how, and the folder of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fashioncnn.artifacts.documents import parse_document
from fashioncnn.checksum import ChecksumError, json_sha256, with_checksum, without_checksum
from fashioncnn.errors import DataError, UsageError
from fashioncnn.files import write_json
from fashioncnn.reading import CONFIG_BYTES, read_bytes, reason
from fashioncnn.settings import SCHEMA

NAMES_ONLY = {"model"}
"""Settings that do not change the predictions."""


class JobSettings(BaseModel):
    """What decides the predictions, beside the images themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: str
    """Version of fashioncnn."""
    model: str
    """Name of the model, as it was given."""
    model_sha256: str
    """SHA-256 of its files."""
    backend: str
    """``onnx`` or ``torch``."""
    views: str
    """How an image becomes model input."""
    abstain_below: float
    """Confidence below which the model abstains."""
    top: int = Field(ge=1)
    """Number of classes per image."""
    max_pixels: int = Field(ge=1)
    """Limit on the pixels of an image."""
    shard_size: int = Field(ge=1)
    """Images per shard."""
    folder: str
    """Folder that the names of the images are relative to."""


class Job(JobSettings):
    """A job whose images are listed."""

    images: int = Field(ge=1)
    """Number of images."""
    inputs_sha256: str
    """SHA-256 of their names, in order."""
    probe: str
    """The first image that exists. A machine that does not find it sees other files."""

    @property
    def shards(self) -> int:
        """Number of shards; the last one may have fewer images."""
        return -(-self.images // self.shard_size)

    @property
    def id(self) -> str:
        """SHA-256 that identifies settings and images."""
        return json_sha256(self.model_dump(mode="json"))

    def images_of(self, shard: int) -> int:
        """Return the number of images of a shard."""
        return min(self.shard_size, self.images - shard * self.shard_size)


@dataclass(frozen=True)
class JobFolder:
    """The files of a job. Readers of Parquet ignore names that begin with an underscore."""

    path: Path

    @property
    def job(self) -> Path:
        """The `Job` as JSON, which is written when all images are listed."""
        return self.path / "_job.json"

    @property
    def manifest(self) -> Path:
        """The list of all parts, which is written when each image has a prediction."""
        return self.path / "_manifest.json"

    @property
    def inputs(self) -> Path:
        """Folder of the lists of images."""
        return self.path / "_inputs"

    @property
    def attempts(self) -> Path:
        """Folder of empty files, one per started and unfinished attempt at a shard."""
        return self.path / "_attempts"

    def input_list(self, shard: int) -> Path:
        """The list of the images of a shard."""
        return self.inputs / f"{shard:06}.parquet"

    def part(self, shard: int) -> Path:
        """The predictions for a shard."""
        return self.path / f"part-{shard:06}.parquet"

    def write_job(self, job: Job) -> None:
        """Write ``_job.json``; raises `WriteError`."""
        values = {"schema": SCHEMA, **job.model_dump(mode="json")}
        write_json(self.job, with_checksum(values))

    def read_job(self) -> Job:
        """Return the job.

        Raises:
            UsageError: the folder has no job.
            DataError: its file is damaged.
        """
        try:
            content = read_bytes(self.job, CONFIG_BYTES)
            return parse_document(content, Job, _verified, has_paths=True)
        except OSError as error:
            raise UsageError(f"{self.job}: cannot be read ({reason(error)})") from None
        except ChecksumError as error:
            raise DataError(f"{self.job}: {error}") from None
        except ValueError as error:
            raise DataError(f"{self.job}: invalid ({error})") from None


def _verified(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a job; raises `ValueError` for a document of another schema."""
    job = without_checksum(values)
    schema = job.pop("schema", None)
    if schema != SCHEMA:
        raise ValueError(f"schema {schema}, which this version cannot read")
    return job


def describe_difference(job: Job, other: JobSettings) -> str | None:
    """Return the first setting that makes two jobs different, with both values; None if none does.

    Args:
        job: that was stored.
        other: that was asked for, with or without a list of images.
    """
    for name in type(other).model_fields:
        before, now = getattr(job, name), getattr(other, name)
        if before != now and name not in NAMES_ONLY:
            if name.endswith("sha256"):
                return "other images" if name.startswith("inputs") else "another model"
            return f"{name.replace('_', ' ')} {before}, not {now}"
    return None


def utf8(name: str) -> str:
    """Return a name whose bytes that are not UTF-8, which Parquet cannot store, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
