"""The end of a job: a check that each image has one prediction, and the list of all parts."""

from __future__ import annotations

from collections.abc import Callable

from fashioncnn.cluster.inputs import read_inputs
from fashioncnn.cluster.job import Job, JobFolder
from fashioncnn.cluster.parts import ShardSummary, verify_part
from fashioncnn.files import write_json
from fashioncnn.inference.counts import Counts
from fashioncnn.settings import SCHEMA

SUMMED = ("images", "found", "failed", "abstained", "resized")


def write_manifest(folder: JobFolder, job: Job, on_part: Callable[[ShardSummary], None]) -> None:
    """Read all parts, check that each image of the job is in them once, and write the manifest.

    Args:
        folder: of the job.
        job: the job.
        on_part: called with the summary of each part.

    Raises:
        DataError: a part is missing or damaged, or has other images.
        WriteError: the manifest cannot be written.
    """
    totals, parts = Counts(), []
    for shard in range(job.shards):
        path = folder.part(shard)
        summary = verify_part(path, job, shard, read_inputs(folder.input_list(shard)))
        totals.add(summary)
        parts.append({"file": path.name, **_numbers(summary), "bytes": path.stat().st_size})
        on_part(summary)
    document = {"schema": SCHEMA, "job": job.id, **_numbers(totals), "parts": parts}
    write_json(folder.manifest, document)


def _numbers(counts: Counts) -> dict[str, int]:
    return {key: getattr(counts, key) for key in SUMMED}
