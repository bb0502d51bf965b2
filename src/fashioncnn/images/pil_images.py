"""Images that a user has opened or created with Pillow, as `read_image` would return them."""

from __future__ import annotations

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from fashioncnn.errors import ImageError
from fashioncnn.images.decoding import DECODER_ERRORS, finish_image, read_image


def from_pil(image: Image.Image, min_side: int | None = None) -> Image.Image:
    """Return the image upright, as `L`, `RGB` or `RGBA`, and reduced as `read_image` does.

    The orientation in its metadata is applied, unless `PIL.ImageOps.exif_transpose` has done so.
    The pixels are those that `read_image` returns for its file. Only a JPEG that has been loaded
    differs a little where it is reduced: by averages of its pixels, not by libjpeg.

    Args:
        image: of any mode; of several frames, the current one. It is loaded, but not changed.
        min_side: see `read_image`.

    Raises:
        ImageError: it cannot be decoded.
        PixelValueError: it is not clear what the values in mode ``I;16``, ``I`` or ``F`` mean.
    """
    name = getattr(image, "filename", "") or "PIL image"
    if 0 in image.size:
        raise ImageError(f"{name}: {image.width}×{image.height} pixels; should not be empty")
    try:
        if isinstance(image, JpegImageFile) and _is_untouched(image):
            return _read_again(image, str(name), min_side)
        return finish_image(image, min_side)
    except DECODER_ERRORS as error:
        raise ImageError(f"{name}: cannot be decoded ({error})") from None


def _is_untouched(image: JpegImageFile) -> bool:
    """Return whether an image is as Pillow opened it: not loaded, at its full size."""
    return (
        bool(image.tile) and not image.decoderconfig and image.fp is not None and not image.tell()
    )


def _read_again(image: JpegImageFile, name: str, min_side: int | None) -> Image.Image:
    """Decode a JPEG at a reduced size, which `image` itself would keep."""
    file = image.fp
    assert file is not None  # noqa: S101, see _is_untouched
    position = file.tell()
    try:
        reduced = read_image(file, name, min_side=min_side)  # type: ignore[arg-type]
    finally:
        file.seek(position)
    image.load()  # closes a file that Pillow has opened
    return reduced
