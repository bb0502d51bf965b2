"""Reads the images of a request: a multipart form with files ``images``, or one image as body."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from fashioncnn.serving.options import MIB, ServerOptions
from fashioncnn.serving.problems import ProblemError

FIELD = "images"
MULTIPART = "multipart/form-data"
BINARY = "application/octet-stream"
MAX_NAME_LENGTH = 200
"""Characters of a file name in an answer."""
BODY_NAME = "body"
"""Name of an image that is the whole body."""


@dataclass(frozen=True)
class Upload:
    """An image file of a request: its name and content."""

    name: str
    content: bytes


async def read_uploads(
    request: Request, options: ServerOptions, count: Callable[[int], None]
) -> list[Upload]:
    """Return the images in the body of a request.

    Args:
        request: whose body was not read yet.
        options: with the limits.
        count: called with the size of each chunk of the body.

    Raises:
        ProblemError: with status 400 for a malformed body, 413 for one over a limit, 415 for other
            content types and encodings, 422 for a form without images.
    """
    content_type = request.headers.get("content-type", BINARY)
    media_type = content_type.partition(";")[0].strip().lower()
    _check_headers(request, media_type, options.max_body_bytes)
    chunks = _read_chunks(request, options.max_body_bytes, count)
    try:
        if media_type == MULTIPART:
            return await _read_form(request, chunks, options)
        return [Upload(BODY_NAME, b"".join([chunk async for chunk in chunks]))]
    except ClientDisconnect:
        raise ProblemError(400, "the connection was closed before the body was complete") from None


def _check_headers(request: Request, media_type: str, limit: int) -> None:
    if media_type not in (MULTIPART, BINARY) and not media_type.startswith("image/"):
        raise ProblemError(
            415,
            f"Content-Type {media_type[:MAX_NAME_LENGTH]}: should be {MULTIPART} with files named "
            f"{FIELD}, or image/… or {BINARY} for one image as body",
            {"Accept": f"{MULTIPART}, image/*, {BINARY}"},
        )
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ProblemError(
            415,
            f"Content-Encoding {encoding[:MAX_NAME_LENGTH]}: send the body without compression",
            {"Accept-Encoding": "identity"},
        )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _too_large(limit)


async def _read_chunks(
    request: Request, limit: int, count: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    """Yield the body, whose length may be unknown before its end."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        count(len(chunk))
        yield chunk


async def _read_form(
    request: Request, chunks: AsyncGenerator[bytes, None], options: ServerOptions
) -> list[Upload]:
    parser = _Parser(request.headers, chunks, options)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ProblemError(400, f"malformed {MULTIPART} body: {_reason(error)}") from None
    except UnicodeError:
        raise ProblemError(
            400, f"malformed {MULTIPART} body: a name is not text of its charset; use UTF-8"
        ) from None
    try:
        uploads = [await _read_part(part) for _, part in form.multi_items()]
    finally:
        await form.close()
    if not uploads:
        raise ProblemError(422, f"the form has no files; send images as files named {FIELD}")
    return uploads


def _reason(error: MultiPartException) -> str:
    """Return what is the matter with a form: the message of the parser if there is one."""
    message = str(error.__cause__ or error.message)
    return f"{message[:1].lower()}{message[1:].rstrip('.')}"


async def _read_part(part: UploadFile | str) -> Upload:
    assert isinstance(part, UploadFile)  # noqa: S101 - see `_Parser.on_headers_finished`
    file_name = (part.filename or FIELD)[:MAX_NAME_LENGTH]
    # Some charsets have surrogates, which are no text in the answer.
    return Upload(file_name.encode(errors="replace").decode(), await part.read())


class _Parser(MultiPartParser):
    """Parses a form in memory, since the body is limited, and rejects one whose end is missing."""

    def __init__(
        self, headers: Headers, chunks: AsyncGenerator[bytes, None], options: ServerOptions
    ) -> None:
        super().__init__(headers, self._check_end(chunks))
        self.spool_max_size = options.max_body_bytes
        self._is_complete = False
        self._parts, self._max_parts = 0, options.max_images

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise ProblemError(
                413, f"more than {self._max_parts} images; send them in several requests"
            )
        super().on_part_begin()

    def on_headers_finished(self) -> None:
        """Reject a part that is no image before its content, which may be large, has arrived."""
        super().on_headers_finished()
        name = self._current_part.field_name
        if name != FIELD or self._current_part.file is None:
            raise ProblemError(
                422,
                f"part '{name[:MAX_NAME_LENGTH]}' of the form: should be a file named {FIELD}, "
                "with a file name",
            )

    def on_end(self) -> None:
        super().on_end()
        self._is_complete = True

    async def _check_end(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield chunk
        if not self._is_complete:
            raise MultiPartException("its end is missing")


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        413, f"body of more than {limit / MIB:g} MiB; send a smaller image, or fewer of them"
    )
