"""From image files to grey uint8 arrays of one size.

A file is judged by its first bytes, not by its name, and only the decoder of that format is ever
asked, within limits that are checked before it is (`data/hostile.py`). What comes out is upright
and `L`, `RGB` or `RGBA`. Colours are taken as they are stored: a colour profile is not applied.

Then two ways to an array: `plain` for a person's own class folders (grey, padded to a square,
resized), and `fashion` for networks that learnt Fashion-MNIST, which follows that data set's own
conversion (arXiv:1708.07747, figure 1): trim the border colour, longest edge to the size, centre,
garment light on black.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fashioncnn.errors import ImageError
from fashioncnn.images.limits import SMALLER, MeteredFile, check_header, open_regular, too_large

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
MAX_PIXELS = 16_000_000
TRIM_TOLERANCE = 24
"""Grey levels by which a pixel may differ from the border and still be background."""
DECODERS_FAIL_WITH = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for files that are not what they claim to be (found by changing bytes)."""
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held (CIPA DC-008, 4.6.4)."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation; 1 is upright."""

Grey = NDArray[np.uint8]


def read_image(
    file: Path | BytesIO,
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    enough: int | None = None,
) -> Image.Image:
    """Return a decoded image, upright, as `L`, `RGB` or `RGBA`; its first frame if animated.

    Args:
        file: a JPEG, PNG, WEBP, GIF or BMP.
        name: what messages call it; the path by default.
        max_pixels: the most that is decoded, by the file's own header.
        enough: so many pixels on the longer side suffice. A larger image comes back at a whole
            fraction of its size that is no smaller; a JPEG is decoded at it, in a fraction of the
            time.

    Raises:
        ImageError: missing, no regular file, damaged, of another format, or over a limit.
    """
    name = name or str(file)
    try:
        with open_regular(file, name) if isinstance(file, Path) else file as content:
            kind, metered = check_header(content, name, max_pixels)
            return _decode(metered, kind, name, max_pixels, enough)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: damaged image (its header makes no sense)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            f"{name}: over the limit of {max_pixels / 1e6:g} megapixels; {SMALLER}"
        ) from None
    except MemoryError:
        raise ImageError(f"{name}: needs more memory than there is") from None
    except DECODERS_FAIL_WITH as error:
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{name}: cannot be read ({error.strerror})") from None
        raise ImageError(f"{name}: damaged image ({error})") from None


def to_grey(image: Image.Image) -> Grey:
    """Return an image's luma, (height, width) uint8; what is transparent becomes white."""
    if 0 in image.size:
        raise ImageError(f"an image of {image.width}×{image.height} pixels has nothing to see")
    image = to_plain_mode(image)
    if image.mode == "RGBA":  # cut-outs are mostly shown on white
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("L"))


def to_plain_mode(image: Image.Image) -> Image.Image:
    """Return an image of any mode as `L`, `RGB` or, where something may be seen through, `RGBA`.

    16 bits become 8 by their share of 65535; CMYK is taken without a profile.
    """
    if image.mode.startswith("I"):
        return _from_wide(image)
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def plain_view(image: Image.Image, size: int) -> Grey:
    """Return (size, size) uint8: grey, padded with its border's grey, resized."""
    grey = to_grey(image)
    return _fit_square(grey, size, fill=_border_level(grey))


def fashion_view(image: Image.Image, size: int) -> Grey:
    """Return (size, size) uint8 as Fashion-MNIST's images are: garment light on black.

    A grey image that already has the size is taken as it is, even where it was saved as colour.
    Any other is inverted where its border is light, its border colour is trimmed, and the rest is
    fitted in and centred.
    """
    grey = to_grey(image)
    if grey.shape == (size, size) and is_grey(image):
        return grey
    border = _border_level(grey)
    if border > 127:
        grey, border = 255 - grey, 255 - border
    rows, columns = np.nonzero(np.abs(grey.astype(int) - border) > TRIM_TOLERANCE)
    if len(rows):
        grey = grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # The background becomes black, and what is lighter keeps its distance from it.
    lifted = np.clip((grey.astype(int) - border) * 255 // max(255 - border, 1), 0, 255)
    return _fit_square(lifted.astype(np.uint8), size, fill=0)


def whole_view(image: Image.Image, size: int, fit: str) -> Grey:
    """Return (size, size) uint8 of the whole image: grey, inverted where its border is light.

    Args:
        image: of any mode.
        size: side in pixels.
        fit: ``pad`` keeps the proportions and pads with the border's grey, ``stretch`` gives them
            up, ``crop`` takes the square in the middle.
    """
    grey = to_grey(image)
    border = _border_level(grey)
    if border > 127:
        grey, border = 255 - grey, 255 - border
    if fit == "pad":
        return _fit_square(grey, size, fill=border)
    if fit == "crop":
        height, width = grey.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        grey = grey[top : top + side, left : left + side]
    resized = Image.fromarray(grey).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def _decode(
    file: MeteredFile, kind: str, name: str, max_pixels: int, enough: int | None
) -> Image.Image:
    with Image.open(cast(BinaryIO, file), formats=(kind,)) as image:
        file.header_is_read()
        width, height = image.size
        if width * height > max_pixels:  # a GIF's first frame may be larger than its header says
            raise too_large(name, width, height, max_pixels)
        times = max(1, max(width, height) // enough) if enough else 1
        if kind == "JPEG":
            image.draft(None, (max(1, width // times), max(1, height // times)))
        image.load()
        turn = TURNS.get(_orientation(image.info.get("exif", b"")))
        plain = to_plain_mode(image)
    times = max(1, max(plain.size) // enough) if enough else 1
    if times > 1:
        plain = plain.reduce(times)
    return plain if turn is None else plain.transpose(turn)


def _orientation(exif: bytes) -> int:
    """Return what EXIF says of the orientation, 1 to 8; 1 where it says nothing, or nonsense.

    Read here and not by Pillow, which reads every entry there is, for this one.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", exif, at)
            if (tag, kind, count) == (ORIENTATION, 3, 1):
                return int(value)
    except struct.error:
        pass  # cut short; the image itself may be whole
    return 1


def _from_wide(image: Image.Image) -> Image.Image:
    """Return 16 bits a pixel as `L`, or as `RGBA` where one value stands for see-through."""
    reshape_per_image = np.asarray(image)
    grey = np.clip(reshape_per_image.astype(np.float32) / 257 + 0.5, 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if clear is None:
        return Image.fromarray(grey)
    alpha = np.where(reshape_per_image == clear, 0, 255).astype(np.uint8)
    return Image.merge("RGBA", [Image.fromarray(grey)] * 3 + [Image.fromarray(alpha)])


def is_grey(image: Image.Image) -> bool:
    """Whether nothing is coloured and nothing can be seen through."""
    image = to_plain_mode(image)
    if image.mode == "RGB":
        colours = np.asarray(image)
        return bool((colours == colours[..., :1]).all())
    return image.mode == "L"


def _border_level(grey: Grey) -> int:
    edges = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    return int(np.median(np.concatenate(edges)))


def _fit_square(grey: Grey, size: int, fill: int) -> Grey:
    """Bring the longest edge to `size`, keep the proportions, centre on `fill`."""
    height, width = grey.shape
    scale = size / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(grey).resize(fitted, Image.Resampling.LANCZOS)
    canvas = Image.new("L", (size, size), fill)
    canvas.paste(small, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return np.asarray(canvas)
