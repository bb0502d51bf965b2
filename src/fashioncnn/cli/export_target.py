"""Where ``fashioncnn export`` writes: a file, or a folder in the layout of the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fashioncnn.artifacts.model_folder import (
    CARD,
    CONFIG,
    MAX_WEIGHTS_BYTES,
    ONNX,
    ONNX_SUFFIX,
    bundled_models,
    read_description,
    read_weights,
    require_model_folder,
    write_model_folder,
)
from fashioncnn.cli.file_errors import check_file, check_folder, writing
from fashioncnn.errors import UsageError
from fashioncnn.files import reject_url, remove_temporary_files, write_atomic
from fashioncnn.reading import CONFIG_BYTES, read_text
from fashioncnn.runs import RunFolder


@dataclass(frozen=True)
class FileTarget:
    """One ONNX file.

    Attributes:
        path: of the file, which is replaced if it exists.
    """

    path: Path

    def write(self, content: bytes) -> None:
        """Write the file."""
        target = self.path.resolve()  # a symbolic link stays one
        remove_temporary_files(target.parent, target.name)
        with writing("--out", self.path):
            write_atomic(target, content)


@dataclass(frozen=True)
class FolderTarget:
    """A model folder with all files.

    Attributes:
        path: of the folder.
        source: the model folder that is exported.
    """

    path: Path
    source: Path

    def write(self, content: bytes) -> None:
        """Write the folder, with weights, description and model card of the source."""
        description = read_description(self.source)
        weights = read_weights(self.source, description.weights_sha256, MAX_WEIGHTS_BYTES)
        card = read_text(self.source / CARD, CONFIG_BYTES)
        with writing("--out", self.path):
            write_model_folder(self.path, weights, description, card, content)


def choose_target(
    model: Path, folder: Path, out: str | None, *, int8: bool
) -> FileTarget | FolderTarget:
    """Return where to write, which was found to be possible.

    Args:
        model: as it was given.
        folder: its model folder.
        out: the option ``--out``.
        int8: whether the file is quantized. By default it is then not written into the model
            folder, where it would change what the model predicts.

    Raises:
        UsageError: nothing can be written there, or it would replace another file.
    """
    if out is None:
        name = model.resolve().name
        if int8:
            path = Path(f"{name}-int8{ONNX_SUFFIX}")
        else:
            is_bundled = folder in bundled_models().values()
            path = Path(f"{name}{ONNX_SUFFIX}") if is_bundled else folder / ONNX
        return _file(path)
    path = Path(out)
    reject_url(path, "--out")
    if not out.endswith("/") and not path.is_dir():
        if path.suffix.lower() != ONNX_SUFFIX:
            raise UsageError(
                f"--out {out}: should end in {ONNX_SUFFIX}; for a folder of all files, write {out}/"
            )
        _require_own(path, folder)
        return _file(path)
    if path.resolve() == folder.resolve():
        return _file(path / ONNX)
    _check_new_folder(path)
    return FolderTarget(path, folder)


def _require_own(path: Path, folder: Path) -> None:
    """Reject a file that would replace that of another model, which then has other weights."""
    other = path.resolve().parent
    if path.name == ONNX and (other / CONFIG).exists() and other != folder.resolve():
        raise UsageError(f"--out {path}: is the file of another model; name another file")


def _file(path: Path) -> FileTarget:
    check_file("--out", path)
    return FileTarget(path)


def _check_new_folder(path: Path) -> None:
    """Reject a folder that cannot be written, or has other files than those of a model."""
    with writing("--out", path):
        if path.exists() and not path.is_dir():
            raise UsageError(f"--out {path}: exists and is not a folder; name another folder")
        existing = next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())
        check_folder("--out", existing)
        if path.is_dir() and any(path.iterdir()):
            _require_model(path)


def _require_model(path: Path) -> None:
    run = RunFolder(path.resolve().parent)
    if run.config.exists() and path.resolve() == run.model:
        raise UsageError(f"--out {path}: is the model of another run; name a new folder")
    if not (path / CONFIG).exists():
        raise UsageError(f"--out {path}: has other files than those of a model; name a new folder")
    require_model_folder(path)
