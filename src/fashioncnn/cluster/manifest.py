"""The end of a job: a check that each image has one prediction, and the list of all parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fashioncnn.cluster.inputs import read_inputs
from fashioncnn.cluster.job import Job, JobFolder
from fashioncnn.cluster.parts import ShardSummary, verify_part
from fashioncnn.files import write_json
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
    totals, parts = dict.fromkeys(SUMMED, 0), []
    for shard in range(job.shards):
        path = folder.part(shard)
        summary = verify_part(path, job, shard, read_inputs(folder.input_list(shard)))
        counts: dict[str, Any] = {key: asdict(summary)[key] for key in SUMMED}
        for key in SUMMED:
            totals[key] += counts[key]
        parts.append({"file": path.name, **counts, "bytes": path.stat().st_size})
        on_part(summary)
    write_json(folder.manifest, {"schema": SCHEMA, "job": job.id, **totals, "parts": parts})
