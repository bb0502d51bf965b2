"""The content of image files that users pass in memory."""

from __future__ import annotations

from typing import Any

from fashioncnn.errors import UsageError
from fashioncnn.images.decoding import MAX_PIXELS
from fashioncnn.images.limits import max_bytes

Content = bytes | bytearray | memoryview


def read_content(file: Any) -> tuple[str, bytes]:
    """Return name and content of an open file, from its start as with `PIL.Image.open`.

    One byte more than the limit is read at most, which the decoder then rejects.

    Raises:
        UsageError: it cannot be read, or was opened as text.
    """
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else type(file).__name__
    try:
        if file.seekable():
            file.seek(0)
        content = file.read(max_bytes(MAX_PIXELS) + 1)
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{name}: cannot be read ({error})") from None
    if not isinstance(content, bytes):
        raise UsageError(f"{name}: opened as text; open it in binary mode, as with open(…, 'rb')")
    return name, content
