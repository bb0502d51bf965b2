"""A model as bytes, which reach machines that do not have its files."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fashioncnn.artifacts.model_folder import CONFIG, MAX_WEIGHTS_BYTES, ONNX, WEIGHTS, find_model
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.errors import ModelError
from fashioncnn.files import write_atomic
from fashioncnn.inference.predictor import Predictor
from fashioncnn.loading import BackendName, open_model
from fashioncnn.reading import read_bytes, reason


@dataclass(frozen=True)
class ModelBytes:
    """The files that a backend needs, and the specification to predict with.

    Attributes:
        files: content by name.
        backend: ``onnx`` or ``torch``.
        spec: of the model, with the options of the command.
    """

    files: dict[str, bytes]
    backend: BackendName
    spec: ModelSpec

    @property
    def sha256(self) -> str:
        """SHA-256 of names and contents."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def open(self) -> Predictor:
        """Return a predictor that computes on one core."""
        with tempfile.TemporaryDirectory(prefix="fashioncnn-model-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                write_atomic(folder / file, content)
            path = folder if CONFIG in self.files else folder / ONNX
            computes = open_model(path, self.backend, "cpu", threads=1).predictor
        return Predictor(computes.backend, self.spec)


def read_model(path: Path, backend: BackendName, spec: ModelSpec) -> ModelBytes:
    """Return a model as bytes.

    Args:
        path: see `fashioncnn.loading.open_model`.
        backend: that computes with it.
        spec: to predict with.

    Raises:
        ModelError: a file cannot be read.
    """
    model = find_model(path)
    if model.is_file():
        return ModelBytes({ONNX: _read(model)}, backend, spec)
    names = (CONFIG, ONNX if backend == "onnx" else WEIGHTS)
    return ModelBytes({name: _read(model / name) for name in names}, backend, spec)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_WEIGHTS_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)})") from None
