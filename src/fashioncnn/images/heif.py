"""HEIC and HEIF images, which need the extra ``[heif]``."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from fashioncnn.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from pillow_heif import HeifFile


def open_heif(content: bytes, name: str) -> HeifFile:
    """Return a HEIF file whose headers have been read and whose pixels have not been decoded.

    Args:
        content: of the file.
        name: used in messages.

    Raises:
        ImageError: pillow-heif is not installed.
        ValueError, RuntimeError: the file is malformed.
    """
    try:
        import pillow_heif
    except ImportError:
        missing = MissingExtraError("heif", "pillow-heif")
        raise ImageError(f"{name}: a HEIC image; {missing}") from None
    return pillow_heif.open_heif(BytesIO(content), convert_hdr_to_8bit=True)
