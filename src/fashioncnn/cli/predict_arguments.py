"""Checks of the arguments of ``fashioncnn predict`` before any work is done."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fashioncnn.cli.file_errors import check_file, check_folder, writing
from fashioncnn.cli.options import unknown_option
from fashioncnn.errors import UsageError
from fashioncnn.files import make_folder, reject_url, remove_temporary_files

STDIN = "-"
FORMAT_OF_SUFFIX = {".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".txt": "table", "": "table"}
FOLDERS = (
    ("run", ("config.toml", "environment.json")),
    ("model", ("config.json", "model.safetensors")),
    ("model", ("config.json", "model.onnx")),
)
"""Kinds of folders and the files by which they are recognized."""
HOW_TO_REDUCE = "resize the image, or raise --max-megapixels"
"""What to do about an image over the limit."""
NAME = re.compile(r"[a-z0-9-]+")
"""Of a bundled model; no path, and without a suffix."""


@dataclass(frozen=True)
class Sources:
    """Where the images come from.

    Attributes:
        names: on the command line.
        from_file: a file with more sources, which follow the others; ``-`` is standard input.
        max_pixels: of an image; larger ones are rejected.
    """

    names: tuple[str, ...]
    from_file: str | None
    max_pixels: int


def check_sources(sources: tuple[str, ...], from_file: str | None, options: Iterable[str]) -> None:
    """Reject missing sources, unknown options, folders of models, and a missing standard input.

    Args:
        sources: names of images; options that are not known to the command are among them,
            because ``-`` is a source.
        from_file: a file with more sources.
        options: of the command.
    """
    if not sources and from_file is None:
        raise UsageError("predict: no image; give at least one file or folder")
    for source in sources:
        if source.startswith("-") and source != STDIN and not _is(Path(source).exists):
            raise unknown_option(source, options)
        reject_model_folder(source)
    reads = [*sources, from_file].count(STDIN)
    if reads > 1:
        raise UsageError("-: standard input can be read only once")
    if reads and sys.stdin.isatty():
        raise UsageError("-: standard input is a terminal; pipe an image into it")


def reject_model_folder(source: str) -> str:
    """Return `source`, or raise `UsageError` if it is a model: a folder, a file or a name."""
    folder = Path(source)
    if _is_bundled(source) and not _is(folder.exists):
        raise UsageError(
            f"{source}: a bundled model, not an image; to predict with it, use --model {source}"
        )
    if folder.suffix.lower() == ".onnx" and _is(folder.is_file):
        raise UsageError(
            f"{source}: a model, not an image; to predict with it, use --model {source}"
        )
    for kind, files in FOLDERS:
        if _is(folder.is_dir) and all((folder / name).is_file() for name in files):
            raise UsageError(
                f"{source}: a {kind} folder, not images; to predict with its model, use --model "
                f"{source}"
            )
    return source


def check_out(out: Path, sources: tuple[str, ...], from_file: str | None) -> None:
    """Reject an output file that cannot be written, or that would replace an input."""
    from fashioncnn.images.formats import SUFFIXES

    check_file("--out", out)
    if out.suffix.lower() in SUFFIXES or _is_one_of(out, sources):
        raise UsageError(f"--out {out}: would overwrite an image; name another file")
    if from_file is not None and _is_one_of(out, (from_file,)):
        raise UsageError(f"--out {out}: would overwrite the --from-file list; name another file")


def check_ray(
    sources: tuple[str, ...],
    from_file: str | None,
    out: Path | None,
    others: Mapping[str, object],
) -> None:
    """Reject options that contradict ``--ray``, and a folder for the output that is no folder.

    Args:
        sources: names of images.
        from_file: a file with more sources.
        out: folder of the output.
        others: values of options that have no effect on Parquet files, by option.
    """
    if out is None:
        raise UsageError("--ray: needs --out, a folder for the predictions")
    for option, value in others.items():
        if value:
            raise UsageError(f"{option}: not possible with --ray, which writes Parquet files")
    if STDIN in sources:
        raise UsageError("-: --ray does not read an image on standard input; give files")
    check_out_folder(out, (*sources, *filter(None, (from_file,))))


def check_out_folder(out: Path, sources: Iterable[str]) -> None:
    """Reject an output folder that is a file, cannot be written, or contains or is a source."""
    reject_url(out, "--out")
    with writing("--out", out):
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out}: exists and is not a folder; --ray needs one")
        existing = next(path for path in (out, *out.absolute().parents) if path.exists())
        check_folder("--out", existing)
        _require_outside("--out", out, sources)


def check_device(device: str) -> str:
    """Return the device of ``--ray``, which is the processor, unless another was asked for."""
    if device not in ("auto", "cpu"):
        raise UsageError(f"--device {device}: --ray predicts on processor cores; remove --device")
    return "cpu"


def create_folders(save_views: Path | None, explain: Path | None, sources: tuple[str, ...]) -> None:
    """Create the folders for images; reject those whose content would be read as a source."""
    for option, folder in (("--save-views", save_views), ("--explain", explain)):
        if folder is not None:
            with writing(option, folder):
                _create_folder(option, folder, sources)
    if save_views is not None and explain is not None and save_views.samefile(explain):
        raise UsageError("--save-views and --explain: name two different folders")


def _create_folder(option: str, folder: Path, sources: tuple[str, ...]) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: exists and is not a folder")
    _require_outside(option, folder, sources)
    make_folder(folder)
    check_folder(option, folder)
    remove_temporary_files(folder)


def _require_outside(option: str, folder: Path, sources: Iterable[str]) -> None:
    """Reject a folder for output whose content would be read as a source."""
    for source in sources:
        parent = Path(source)
        if _is(parent.is_dir) and folder.resolve().is_relative_to(parent.resolve()):
            raise UsageError(
                f"{option} {folder}: is inside {source}, whose images are read; name a folder "
                "elsewhere"
            )


def output_format(format_: str | None, json: bool, out: Path | None) -> str:
    """Return the format of the predictions: ``table``, ``json``, ``jsonl`` or ``csv``."""
    if json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_}: choose one")
    if json:
        return "json"
    if format_ or out is None:
        return format_ or "table"
    suffix = out.suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(filter(None, FORMAT_OF_SUFFIX))
        raise UsageError(
            f"--out {out}: no format has the suffix '{suffix}'; use {known}, or --format"
        )
    return FORMAT_OF_SUFFIX[suffix]


def _is_bundled(name: str) -> bool:
    if not NAME.fullmatch(name):
        return False  # as most of millions of names
    from fashioncnn.artifacts.model_folder import bundled_models

    return name in bundled_models()


def _is(kind: Callable[[], bool]) -> bool:
    """Return the result of a method such as `Path.is_dir`; False if the name cannot be a path."""
    try:
        return kind()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _is_one_of(out: Path, sources: Iterable[str]) -> bool:
    return out.exists() and any(_is(Path(s).is_file) and out.samefile(s) for s in sources)
