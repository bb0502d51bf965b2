"""``fashioncnn predict --ray``: a job on a cluster, from its sources to its manifest."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fashioncnn._version import __version__
from fashioncnn.cli.console import note, plural
from fashioncnn.cli.file_errors import writing
from fashioncnn.cli.predict_arguments import HOW_TO_REDUCE, Sources
from fashioncnn.environment import require_modules
from fashioncnn.errors import UsageError
from fashioncnn.files import make_folder, remove_temporary_files
from fashioncnn.images.files import SkippedFiles
from fashioncnn.inference.counts import Counts
from fashioncnn.inference.onnx_backend import OnnxBackend
from fashioncnn.inference.predictor import Predictor
from fashioncnn.loading import BackendName
from fashioncnn.locks import lock_folder
from fashioncnn.new_folder import NotVacantError, is_vacant, new_folder

if TYPE_CHECKING:
    from fashioncnn.cluster.inputs import Input, Listing, OnShard
    from fashioncnn.cluster.job import Job, JobFolder, JobSettings
    from fashioncnn.cluster.model import ModelBytes

SHARD_SIZE = 1024
"""Images per shard: eight batches, so that each is predicted in the same batch as without Ray."""
LOCKED = "another process predicts into this folder"


def predict_with_ray(
    ray: str,
    predictor: Predictor,
    model: Path,
    sources: Sources,
    out: Path,
    shard_size: int | None,
    top: int,
) -> Counts:
    """Predict all images on a Ray cluster, and return their numbers.

    Args:
        ray: address of the cluster, or ``auto``.
        predictor: the model, with the options of the command.
        model: its name.
        sources: of the images.
        out: folder of the predictions; those of the same job are continued.
        shard_size: images per file.
        top: classes per image.

    Raises:
        UsageError: `out` contains something else, or there is no image.
        FashionCNNError: the cluster cannot be reached, or a machine cannot predict.
    """
    require_modules("ray")
    from fashioncnn.cluster.engine import connect, find_cluster
    from fashioncnn.cluster.job import JobFolder
    from fashioncnn.cluster.model import read_model

    name: BackendName = "onnx" if isinstance(predictor.backend, OnnxBackend) else "torch"
    content = read_model(model, name, predictor.spec)
    settings = _settings(content, str(model), shard_size or SHARD_SIZE, top, sources.max_pixels)
    folder = JobFolder(out.absolute())
    _check_existing(folder, settings, out)
    skipped = SkippedFiles()
    address = find_cluster(ray)
    with connect(address) as cluster:
        where = "this machine" if address is None else f"the cluster at {address}"
        machines, cores = plural(cluster.machines, "machine"), plural(cluster.cores, "core")
        note(f"Ray on {where}: {machines}, {cores}")
        list_images = partial(_list_images, sources, skipped)
        with _open_job(folder, settings, list_images, out) as job:
            if message := skipped.describe():
                note(message)
            try:
                counts = _finish(folder, job, content, cluster.cores)
            except KeyboardInterrupt:
                note(f"finished files are kept in {out}; run the same command to continue")
                raise
            finally:
                remove_temporary_files(folder.path)
    note(f"wrote {out}: {plural(counts.images, 'image')} in {plural(job.shards, 'file')}")
    return counts


def _settings(
    model: ModelBytes, name: str, shard_size: int, top: int, max_pixels: int
) -> JobSettings:
    from fashioncnn.cluster.job import JobSettings

    return JobSettings(
        version=__version__,
        model=name,
        model_sha256=model.sha256,
        backend=model.backend,
        views=model.spec.preprocessing.views,
        abstain_below=model.spec.abstain_below,
        top=min(top, len(model.spec.labels)),
        max_pixels=max_pixels,
        shard_size=shard_size,
        folder=str(Path.cwd()),
    )


def _check_existing(folder: JobFolder, settings: JobSettings, out: Path) -> None:
    """Raise `UsageError` unless the folder is new, empty, or has a job with these settings."""
    with writing("--out", out):
        if is_vacant(folder.path, folder.job.name):
            return
    if not folder.job.exists():
        raise UsageError(f"--out {out}: not empty; name a new folder")
    _require_same(folder.read_job(), settings, out)


def _require_same(job: Job, settings: JobSettings, out: Path) -> None:
    from fashioncnn.cluster.job import describe_difference

    if difference := describe_difference(job, settings):
        raise UsageError(
            f"--out {out}: has predictions of another job ({difference}); name a new folder, or "
            "remove it"
        )


def _list_images(
    sources: Sources,
    skipped: SkippedFiles,
    shard_size: int,
    on_shard: OnShard | None = None,
) -> Listing:
    """List the images of all sources; see `fashioncnn.cluster.inputs.list_inputs`."""
    from fashioncnn.cli.predict_input import open_images
    from fashioncnn.cluster.inputs import list_inputs

    with open_images(sources, skipped) as images:
        return list_inputs(images, shard_size, on_shard)


@contextlib.contextmanager
def _open_job(
    folder: JobFolder, settings: JobSettings, list_images: Callable[..., Listing], out: Path
) -> Iterator[Job]:
    """Yield a job whose images are listed in its folder, which is locked meanwhile."""
    from fashioncnn.cluster.job import Job, JobFolder

    def new_job(listing: Listing) -> Job:
        values = settings.model_dump()
        return Job(
            **values,
            images=listing.images,
            inputs_sha256=listing.sha256,
            probe=listing.probe,
        )

    def fill(path: Path) -> None:
        from fashioncnn.cluster.inputs import write_inputs

        hidden = JobFolder(path)
        make_folder(hidden.inputs)

        def write(shard: int, inputs: list[Input]) -> None:
            write_inputs(hidden.input_list(shard), inputs)

        hidden.write_job(new_job(list_images(settings.shard_size, write)))

    with contextlib.ExitStack() as stack:
        if is_vacant(folder.path, folder.job.name):
            try:
                stack.enter_context(new_folder(folder.path, fill, folder.job.name))
            except NotVacantError:
                raise UsageError(f"--out {out}: not empty; name a new folder") from None
            job = folder.read_job()
        else:
            stack.enter_context(lock_folder(folder.path, LOCKED))
            job = folder.read_job()
            _require_same(job, new_job(list_images(settings.shard_size)), out)
        yield job


def _finish(folder: JobFolder, job: Job, model: ModelBytes, cores: int) -> Counts:
    """Predict the shards that are missing, and write the manifest."""
    from fashioncnn.cluster.engine import run_shards
    from fashioncnn.cluster.manifest import write_manifest
    from fashioncnn.cluster.parts import read_summary
    from fashioncnn.cluster.worker import remove_attempts

    counts = Counts()
    missing = [n for n in range(job.shards) if read_summary(folder.part(n), job.id) is None]
    if len(missing) < job.shards:
        finished = job.images - sum(map(job.images_of, missing))
        note(f"continued: {finished:,} of {plural(job.images, 'image')} are predicted")
    remove_attempts(folder)  # of an interrupted command
    if missing:
        with _progress(job, missing) as advance:
            for summary in run_shards(folder, job, model, missing, cores, HOW_TO_REDUCE):
                advance(summary.images)
    write_manifest(folder, job, counts.add)
    remove_attempts(folder)
    return counts


@contextlib.contextmanager
def _progress(job: Job, missing: list[int]) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar by a number of images, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from fashioncnn.cli.image_bar import image_bar

    with image_bar() as bar:
        finished = job.images - sum(map(job.images_of, missing))
        task = bar.add_task("predicting", total=job.images, completed=finished)
        yield lambda images: bar.advance(task, images)
