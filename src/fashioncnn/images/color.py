"""Color modes and color spaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.errors import ImageError
from fashioncnn.images.pixels import WHITE_16_BIT, from_16_bit, to_levels

Gray = NDArray[np.uint8]
"""(height, width), 0 is black."""

# Linear sRGB to CIE XYZ (IEC 61966-2-1), divided by the XYZ of the D65 white point.
RGB_TO_XYZ = np.array(
    [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
)
RGB_TO_XYZ = (RGB_TO_XYZ / np.array([0.9505, 1.0, 1.089])).astype(np.float32)
UNIT = np.arange(256) / 255
SRGB_TO_LINEAR = np.where(UNIT <= 0.04045, UNIT / 12.92, ((UNIT + 0.055) / 1.055) ** 2.4)
SRGB_TO_LINEAR = SRGB_TO_LINEAR.astype(np.float32)
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
"""Modes whose colors are multiplied by alpha, and those that Pillow can convert them to."""
SIXTEEN_BIT_FORMATS = frozenset({"PNG", "PPM", "JPEG2000"})
"""Formats of which Pillow opens 16-bit images in mode ``I``, depending on its version."""
BITS_PER_SAMPLE = 258
"""Tag of TIFF."""
OPAQUE, MAX_OPAQUE_FRACTION = 128, 0.95
"""Alpha from which a pixel counts as opaque, and the fraction of such pixels in a cut-out at most.
Rounded corners of a tenth of the shorter side are 0.9% of the pixels."""


def normalize_mode(image: Image.Image) -> Image.Image:
    """Return an image of any mode as `L`, `RGB` or, if a pixel is not opaque, `RGBA`.

    An opaque alpha channel is removed: it contains no information, and would otherwise count as
    the mask of a garment that was cut out. Modes ``I;16``, ``I`` and ``F`` are rescaled to 8 bits;
    where the file does not define white, by the rules of `fashioncnn.images.pixels`. Of ``LAB``,
    the lightness is returned. Color profiles are ignored, also in CMYK images.

    Raises:
        PixelValueError: it is not clear what the values in mode ``I;16``, ``I`` or ``F`` mean.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_values(image)
    if image.mode in PREMULTIPLIED:
        image = image.convert(PREMULTIPLIED[image.mode])
    if image.mode == "LAB":
        return image.getchannel("L")
    if image.has_transparency_data:
        with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
        if with_alpha.getchannel("A").getextrema() != (255, 255):
            return with_alpha
        return image.convert("L") if image.mode in ("L", "LA") else with_alpha.convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def without_slight_transparency(image: Image.Image) -> Image.Image:
    """Return an image on white as `RGB` if too little of it is transparent for a background.

    Such as a photograph with rounded corners, or one whose opacity is 254 somewhere. Neither is
    everything transparent. Other images are returned as `normalize_mode` does.
    """
    image = normalize_mode(image)
    if image.mode != "RGBA":
        return image
    opaque = np.asarray(image.getchannel("A")) >= OPAQUE
    return image if 0 < opaque.mean() <= MAX_OPAQUE_FRACTION else _on_white(image).convert("RGB")


def to_grayscale(image: Image.Image) -> Gray:
    """Return the luma of an image, (height, width) uint8, composited on white.

    Raises:
        ImageError: the image has no pixels.
    """
    return np.asarray(_on_white(image).convert("L"))


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the colors of an image, (height, width, 3) uint8 sRGB, composited on white.

    Raises:
        ImageError: the image has no pixels.
    """
    return np.asarray(_on_white(image).convert("RGB"))


def is_grayscale(image: Image.Image) -> bool:
    """Whether every pixel is an opaque shade of gray, in whatever mode it is stored."""
    image = normalize_mode(image)
    if image.mode == "RGB":
        pixels = np.asarray(image)
        return bool((pixels == pixels[..., :1]).all())
    return image.mode == "L"


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (…, 3) CIELAB coordinates of (…, 3) sRGB values (IEC 61966-2-1, CIE 15:2004)."""
    xyz = SRGB_TO_LINEAR[rgb] @ RGB_TO_XYZ
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _on_white(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise ImageError(f"an image of {image.width}×{image.height} pixels is empty")
    image = normalize_mode(image)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _from_values(image: Image.Image) -> Image.Image:
    """Return a 16-bit, 32-bit or float image as `L`, or as `RGBA` if pixels are transparent."""
    values = np.asarray(image)
    white = _white(image)
    if white is not None:
        gray = from_16_bit(values, white)
    elif image.mode != "F" and values.min() >= 0 and values.max() <= WHITE_16_BIT:
        gray = to_levels(values.astype(np.uint16))
    else:
        gray = to_levels(values)
    transparent = image.info.get("transparency")
    if transparent is None or not (values == transparent).any():
        return Image.fromarray(gray)
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.merge("RGBA", [Image.fromarray(gray)] * 3 + [Image.fromarray(alpha)])


def _white(image: Image.Image) -> int | None:
    """Return the value of white that the image's file defines, or None if there is none."""
    is_16_bit = image.mode.startswith("I;16") and image.format is not None
    if image.mode == "F" or not (is_16_bit or image.format in SIXTEEN_BIT_FORMATS):
        return None
    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    return int(2 ** min(bits[0], 16) - 1)
