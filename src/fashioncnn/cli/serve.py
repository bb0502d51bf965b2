"""``fashioncnn serve``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fashioncnn.cli.console import note
from fashioncnn.cli.options import Backend, number

if TYPE_CHECKING:
    from fashioncnn.inference.predictor import Predictor
    from fashioncnn.loading import BackendChoice

MIN_BODIES = 2
"""Requests of the maximum size that are received at the same time."""
MAX_MEGAPIXELS = 178
"""Pillow itself rejects images of more than twice its `MAX_IMAGE_PIXELS`."""


def serve(
    model: Path = Path("photo"),
    /,
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, number(int, minimum=0, maximum=65535)] = 8000,
    backend: Backend = "auto",
    workers: Annotated[int, number(int, minimum=1, maximum=64)] = 1,
    token_file: Path | None = None,
    allowed_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    max_megapixels: Annotated[float, number(float, above=0, maximum=MAX_MEGAPIXELS)] = 16,
    max_body_mb: Annotated[float, number(float, above=0, maximum=1024)] = 32,
) -> None:
    """Serve a model over HTTP: an API and a web page.

    Args:
        model: A run folder, a model folder, an ONNX file, or a bundled model.
        host: Address to listen on; 0.0.0.0 is all of this machine, for which --token-file is
            advisable.
        port: Port to listen on; 0 chooses a free one.
        backend: onnx is ONNX Runtime, torch is PyTorch; auto is onnx if the model has an ONNX file.
        workers: Processes that serve, each with its own model and decoders. One uses several cores
            for decoding, so that more are useful from about 8 cores.
        token_file: A file with a token that requests to /v1/ need, as Authorization: Bearer TOKEN.
        allowed_host: A name under which the server is reached, such as images.example.org or
            *.example.org; repeat it for several. IP addresses and localhost are always allowed.
        max_megapixels: Reject larger images before they are decoded. JPEGs are decoded at a
            reduced size, and may have 16 times as many pixels, HEIC 4 times.
        max_body_mb: Reject larger requests, in MiB.
    """
    from fashioncnn.environment import available_cores, default_threads, require_modules

    require_modules("serve")
    from fashioncnn.serving.options import MIB, ServerOptions
    from fashioncnn.serving.run import is_loopback, listen, url_of
    from fashioncnn.serving.security import normalize_hosts, read_token

    max_body_bytes = round(max_body_mb * MIB)
    options = ServerOptions(
        token=None if token_file is None else read_token(token_file),
        allowed_hosts=normalize_hosts(allowed_host or ()),
        max_pixels=round(max_megapixels * 1e6),
        max_body_bytes=max_body_bytes,
        max_pending_bytes=max(ServerOptions.max_pending_bytes, MIN_BODIES * max_body_bytes),
        decoders=max(1, available_cores() // workers),
    )
    name = model.resolve().name if model.name in ("", "..") else model.name
    load = partial(load_predictor, model, backend, default_threads(workers))
    with listen(host, port) as listening:
        predictor = load()  # reports an unusable model before anything else
        note(f"{model} at {url_of(listening)}; end it with Ctrl-C")
        if options.token is None and not is_loopback(listening):
            note("everyone who reaches this port can use the model; --token-file sets a token")
        if workers == 1:
            from fashioncnn.serving.run import serve as serve_here

            serve_here(lambda: predictor, name, options, listening)
        else:
            from fashioncnn.serving.workers import serve_with_workers

            del predictor  # each worker has its own
            serve_with_workers(load, name, options, listening, workers)


def load_predictor(model: Path, backend: BackendChoice, threads: int) -> Predictor:
    """Return the predictor of a model; raises `UsageError` or `ModelError`."""
    from fashioncnn.cli.models import load_for

    return load_for(model, backend, "auto", threads=threads).predictor
