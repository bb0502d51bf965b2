"""The ONNX Runtime backend of `fashioncnn.inference.predictor.Predictor`: no torch, CPU only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.model_folder import CONFIG, ModelDescription, find_onnx, read_description
from fashioncnn.artifacts.onnx_file import (
    FEATURES,
    IMAGES,
    LOGITS,
    ExportRecord,
    read_onnx_model,
)
from fashioncnn.environment import default_threads
from fashioncnn.errors import ModelError, UsageError
from fashioncnn.inference.backend import Backend

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BATCH_SIZE = 64
"""Images per run, which bounds the memory; larger batches are not faster (docs/LOG.md)."""
IMAGES_PER_THREAD = 8
"""Batches of as many images are divided among threads that compute on their own. Threads that share
an operation wait for each other at its end, with 4 to 10% more processor time."""
MAX_AT_ONCE = 256
"""Images that all threads compute at a time, unless `IMAGES_PER_THREAD` requires more."""
FATAL = 4
"""Level of messages that ONNX Runtime itself writes to stderr; errors are raised as well."""
NO_FOLDER = "/dev/null/no external data"
"""Where data outside of the file is looked for: nowhere."""

Weight = NDArray[np.float32]


class OnnxBackend:
    """Computes with an ONNX file; threads may share it, and it can be pickled.

    The logits of an image depend on the other images of a batch by rounding only, about 1e-6.

    Attributes:
        content: of the file.
        source: name of the file, for messages.
        precision: ``fp32`` or ``int8``.
        threads: of ONNX Runtime.
    """

    def __init__(
        self,
        content: bytes,
        description: ModelDescription,
        record: ExportRecord,
        source: str | Path,
        threads: int | None = None,
        open_gradients: Callable[[], Backend] | None = None,
    ) -> None:
        """Create the session.

        Args:
            content: of the file.
            description: from its metadata.
            record: from its metadata.
            source: name of the file, for messages.
            threads: of ONNX Runtime; by default `default_threads`.
            open_gradients: returns a backend for `activation_maps` that need gradients.

        Raises:
            ModelError: the graph is damaged, or is not that of such a model.
        """
        self.content, self.source = content, str(source)
        self.precision: Literal["fp32", "int8"] = record.precision
        self.threads = threads or default_threads()
        self._arguments = content, description, record, source, threads, open_gradients
        self._open_gradients = open_gradients
        self._classes = len(description.labels)
        self._weight: Weight | None = record.activation_weight(self._classes)
        self._session = open_session(content, self.threads, self.source)
        self._single_threaded = self._session if self.threads == 1 else None
        self._opening = threading.Lock()
        _check_graph(self._session, description, self._weight, self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @property
    def has_activation_maps(self) -> bool:
        """Whether `activation_maps` can be computed."""
        return self._weight is not None or self._open_gradients is not None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `fashioncnn.inference.backend.Backend.logits`."""
        if not len(images):
            return np.empty((0, self._classes), np.float32)
        if self.threads > 1 and len(images) >= IMAGES_PER_THREAD * self.threads:
            return self._divided_logits(images)
        return np.concatenate([self._run(LOGITS, batch) for batch in _batches(images)])

    def _divided_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits of images that are divided among threads."""
        with self._opening:
            if self._single_threaded is None:
                self._single_threaded = open_session(self.content, 1, self.source)
        most = max(IMAGES_PER_THREAD, min(BATCH_SIZE, MAX_AT_ONCE // self.threads))
        size = min(most, -(-len(images) // self.threads))
        batches = [images[start : start + size] for start in range(0, len(images), size)]
        session = self._single_threaded
        with ThreadPoolExecutor(self.threads) as pool:
            return np.concatenate(list(pool.map(lambda x: self._run(LOGITS, x, session), batches)))

    def activation_maps(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """See `fashioncnn.inference.backend.Backend.activation_maps`.

        Where the head is a mean over all positions and a linear layer, the gradient of a logit is
        the weight of the class divided by the number of positions, so that this is Grad-CAM without
        gradients (Zhou et al. 2016, arXiv:1512.04150; Selvaraju et al., arXiv:1610.02391, section
        3.1).

        Other networks need gradients, and so PyTorch.

        Raises:
            UsageError: see `require_activation_maps`.
        """
        self.require_activation_maps()
        weight = self._weight
        if weight is None:
            return self._gradients.activation_maps(images, labels)
        maps = []
        for batch, batch_labels in zip(_batches(images), _batches(labels), strict=True):
            features = self._run(FEATURES, batch)
            positions = features.shape[2] * features.shape[3]
            sums = np.einsum("nc,nchw->nhw", weight[batch_labels], features)
            maps.append(np.maximum(sums, 0) / np.float32(positions))
        return np.concatenate(maps) if maps else np.empty((0, 1, 1), np.float32)

    def require_activation_maps(self) -> None:
        """Raise an error unless `activation_maps` can be computed.

        Raises:
            UsageError: the network has another head than a mean and a linear layer, and the
                backend was opened without one for gradients.
        """
        if not self.has_activation_maps:
            raise UsageError(
                f"{self.source}: the heat maps of its network need its weights and PyTorch; to "
                "install that, run pip install '.[train]' in a checkout of fashioncnn"
            )

    @cached_property
    def _gradients(self) -> Backend:
        assert self._open_gradients is not None  # noqa: S101 - see `require_activation_maps`
        return self._open_gradients()

    def _run(
        self, output: str, images: NDArray[np.uint8], session: InferenceSession | None = None
    ) -> NDArray[np.float32]:
        session = session or self._session
        try:
            (values,) = session.run([output], {IMAGES: np.ascontiguousarray(images)})
        except runtime_errors() as error:
            raise ModelError(f"{self.source}: cannot be computed ({_reason(error)})") from None
        if len(values) != len(images) or values.shape[1:] != self._shape_of(output, values):
            raise ModelError(f"{self.source}: unexpected shape {values.shape} of {output}")
        result: NDArray[np.float32] = values
        return result

    def _shape_of(self, output: str, values: NDArray[np.float32]) -> tuple[int, ...]:
        if output == LOGITS or self._weight is None:
            return (self._classes,)
        return self._weight.shape[1], *values.shape[2:]


def open_onnx_backend(
    model: Path,
    threads: int | None = None,
    open_gradients: Callable[[], Backend] | None = None,
) -> tuple[OnnxBackend, ModelDescription]:
    """Return the backend and the description of a model that has an ONNX file.

    The description of a model folder is its ``config.json``.

    Args:
        model: a model folder or an ONNX file, see `fashioncnn.artifacts.model_folder.find_model`.
        threads: of ONNX Runtime; by default `default_threads`.
        open_gradients: see `OnnxBackend`.

    Raises:
        ModelError: a file is damaged, or was exported from other weights than those of the folder.
        UsageError: the model has no ONNX file.
    """
    path = find_onnx(model)
    if path is None:
        raise UsageError(f"{model}: has no ONNX file")
    content, description, record = read_onnx_model(path)
    if path != model:
        weights = description.weights_sha256
        description = read_description(model)
        if weights != description.weights_sha256:
            raise ModelError(
                f"{path}: was exported from other weights than those of {CONFIG} beside it; export "
                "it again, or delete it"
            )
    return OnnxBackend(content, description, record, path, threads, open_gradients), description


def open_session(content: bytes, threads: int, source: str) -> InferenceSession:
    """Return a session of ONNX Runtime that prints nothing.

    Args:
        content: of an ONNX file.
        threads: of ONNX Runtime.
        source: name of the file, for messages.

    Raises:
        ModelError: the graph cannot be used.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # which exist on Windows only
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = FATAL
    # Waiting threads sleep: spinning took a third more processor time for small batches.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", NO_FOLDER
    )
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except runtime_errors() as error:
        raise ModelError(f"{source}: not a usable ONNX file ({_reason(error)})") from None


def _check_graph(
    session: InferenceSession, description: ModelDescription, weight: Weight | None, source: str
) -> None:
    """Raise `ModelError` unless inputs and outputs are those that `onnx_file` documents."""
    inputs = {(x.name, x.type, tuple(x.shape[1:])) for x in session.get_inputs()}
    expected = {(IMAGES, "tensor(uint8)", description.preprocessing.input_shape)}
    outputs = {(x.name, x.type) for x in session.get_outputs()}
    names = {LOGITS} if weight is None else {LOGITS, FEATURES}
    if inputs != expected or outputs != {(name, "tensor(float)") for name in names}:
        raise ModelError(f"{source}: its graph has other inputs or outputs than a model exported")


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    own = (*names, "RuntimeException", "EngineError", "EPFail", "NoSuchFile")
    return (*(getattr(state, name) for name in own), RuntimeError, MemoryError)


def _reason(error: Exception) -> str:
    """Return the message of ONNX Runtime in one line, without its code and file names."""
    lines = str(error).strip().splitlines()
    return lines[0].rpartition(" : ")[2][:200] if lines else type(error).__name__


def _batches(values: NDArray[Any]) -> list[NDArray[Any]]:
    return [values[start : start + BATCH_SIZE] for start in range(0, len(values), BATCH_SIZE)]
