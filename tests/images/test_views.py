from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from fashioncnn.images.segmentation import CENTER_WEIGHTS
from fashioncnn.images.views import (
    PHOTO_FITS,
    VIEW_FUNCTIONS,
    ViewMode,
    fashion_view,
    photo_views,
    plain_color_view,
    plain_view,
    whole_view,
)

RANDOM = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)


def test_every_view_mode_has_a_function():
    assert list(VIEW_FUNCTIONS) == list(get_args(ViewMode))


@pytest.mark.parametrize("mode", VIEW_FUNCTIONS)
@pytest.mark.parametrize("size", [(40, 30), (1, 1), (300, 2)])
def test_views_are_square_uint8(mode, size):
    views = VIEW_FUNCTIONS[mode](Image.new("RGB", size, (200, 30, 90)), 28)
    count = {"photo": len(CENTER_WEIGHTS) + len(PHOTO_FITS), "cutout": len(CENTER_WEIGHTS)}
    assert views.shape == (count.get(mode, 1), 28, 28)
    assert views.dtype == np.uint8


@pytest.mark.parametrize("mode", ["fashion", "photo", "cutout"])
def test_grayscale_image_of_the_model_input_size_is_unchanged(mode):
    np.testing.assert_array_equal(VIEW_FUNCTIONS[mode](Image.fromarray(RANDOM), 28), RANDOM[None])


def test_photo_views_are_the_cut_out_and_the_whole_image():
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (60, 50, 3), np.uint8))
    views = VIEW_FUNCTIONS["photo"](image, 28)
    expected = [VIEW_FUNCTIONS[mode](image, 28) for mode in ("cutout", *PHOTO_FITS)]
    np.testing.assert_array_equal(views, np.concatenate(expected))


def test_plain_view_keeps_the_aspect_ratio_and_pads_with_the_border_level():
    pixels = np.full((20, 40), 200, np.uint8)
    pixels[8:12, 18:22] = 0
    view = plain_view(Image.fromarray(pixels), 28)
    assert (view[:7] == 200).all()
    assert view[14, 14] < 100


@pytest.mark.parametrize(
    ("mode", "alpha", "unchanged"),
    [
        ("RGB", 255, True),
        ("P", 255, True),
        ("LA", 255, True),
        ("RGBA", 255, True),
        ("LA", 254, False),
        ("RGBA", 254, False),
    ],
)
def test_fashion_view_recognizes_grayscale_saved_in_color(mode, alpha, unchanged):
    pixels = RANDOM.copy()
    pixels[[0, -1]] = 255  # a light border: any other image is inverted
    image = Image.fromarray(pixels).convert(mode)
    if alpha < 255:
        image.putalpha(alpha)
    assert np.array_equal(fashion_view(image, 28), pixels) == unchanged


def opaque_copies():
    """Yield an RGB or grayscale photograph and the same with an alpha channel of 255."""
    pixels = np.random.default_rng(3).integers(0, 256, (60, 50, 3)).astype(np.uint8)
    pixels[15:45, 15:35] //= 4
    color, gray = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    palette = color.convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    transparent_entry = palette.copy()
    transparent_entry.info["transparency"] = 200  # a color that no pixel has
    marked_color = color.copy()
    marked_color.info["transparency"] = (1, 2, 3)
    yield "RGBA", color, color.convert("RGBA")
    yield "LA", gray, gray.convert("LA")
    yield "PA", palette.convert("RGB"), palette.convert("PA")
    yield "P", palette.convert("RGB"), transparent_entry
    yield "RGB with a transparent color", color, marked_color


OPAQUE = list(opaque_copies())


@pytest.mark.parametrize("view_mode", VIEW_FUNCTIONS)
@pytest.mark.parametrize(("image", "opaque"), [c[1:] for c in OPAQUE], ids=[c[0] for c in OPAQUE])
def test_opaque_alpha_channel_changes_no_view(view_mode, image, opaque):
    view = VIEW_FUNCTIONS[view_mode]
    np.testing.assert_array_equal(view(opaque, 28), view(image, 28))


def slightly_transparent(image):
    """Yield copies of an RGB image that are no cut-outs, by the kind of their transparency."""
    one_pixel = image.convert("RGBA")
    one_pixel.putpixel((0, 0), (*image.getpixel((0, 0)), 254))
    rounded = Image.new("L", image.size)
    box = (0, 0, image.width - 1, image.height - 1)
    ImageDraw.Draw(rounded).rounded_rectangle(box, image.width // 10, fill=255)
    corners = image.convert("RGBA")
    corners.putalpha(rounded)
    whole = image.convert("RGBA")
    whole.putalpha(254)
    yield from (("one pixel", one_pixel), ("rounded corners", corners), ("everywhere", whole))


def draw_photograph():
    image = Image.new("RGB", (300, 400), (205, 190, 170))
    ImageDraw.Draw(image).rectangle((90, 80, 210, 330), fill=(40, 60, 110))
    noise = np.random.default_rng(0).normal(0, 5, (400, 300, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("mode", ["cutout", "photo"])
def test_hardly_transparent_photograph_is_segmented_like_an_opaque_one(mode):
    photograph = draw_photograph()
    expected = VIEW_FUNCTIONS[mode](photograph, 28).astype(int)
    for kind, image in slightly_transparent(photograph):
        views = VIEW_FUNCTIONS[mode](image, 28)
        assert len(views) == len(expected), kind
        assert np.abs(views - expected).mean() < 3, kind


@pytest.mark.parametrize(("mode", "count"), [("cutout", 1), ("photo", 4)])
@pytest.mark.parametrize("margin", [10, 100])
def test_transparent_background_is_the_mask(mode, count, margin):
    photograph = draw_photograph()
    alpha = Image.new("L", photograph.size)
    alpha.paste(255, (margin, margin, 300 - margin, 400 - margin))
    photograph.putalpha(alpha)
    views = VIEW_FUNCTIONS[mode](photograph, 28)
    assert len(views) == count
    assert (views[0] > 0).any(1).all()


def test_bars_of_a_screenshot_with_rounded_corners_are_removed():
    photograph = draw_photograph()
    screen = ImageOps.expand(photograph, (0, 100), "black")
    rounded = dict(slightly_transparent(screen))["rounded corners"]
    difference = photo_views(rounded, 28).astype(int) - photo_views(screen, 28)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("background", [255, 0], ids=["on white", "on black"])
def test_fashion_view_is_light_on_black_and_trimmed(background):
    image = np.full((100, 200), background, np.uint8)
    image[30:70, 80:110] = 255 - background
    view = fashion_view(Image.fromarray(image), 28)
    assert view[:, :3].max() == 0
    assert view[14, 14] == 255
    assert (view.max(axis=1) > 0).all()  # the longest edge, the height, fills the frame


def test_fashion_view_of_a_blank_image_is_black():
    assert fashion_view(Image.new("L", (50, 50), 255), 28).max() == 0


@pytest.mark.parametrize("light", [True, False])
def test_whole_view_by_fit(light):
    """A black square on the left half of a white 40×20 image, or white on black."""
    pixels = np.full((20, 40), 250, np.uint8)
    pixels[5:15, 4:14] = 10
    image = Image.fromarray(pixels if light else 255 - pixels)
    padded, stretched, cropped = (whole_view(image, 20, f) for f in ("pad", "stretch", "crop"))
    assert (padded[:4] == 5).all()
    assert padded[10, 4] > 200
    assert stretched[10, 4] > 200
    assert stretched[4, 4] < 60
    assert stretched[10, 12] < 60
    assert cropped[10, 1] > 200  # columns 10 to 29 remain
    assert cropped[10, 8] < 60


def test_plain_color_view_is_the_plain_view_of_each_channel():
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    view = plain_color_view(Image.fromarray(pixels), 28)
    assert (view.shape, view.dtype) == ((28, 28, 3), np.uint8)
    for channel in range(3):
        expected = plain_view(Image.fromarray(pixels[..., channel]), 28)
        np.testing.assert_array_equal(view[..., channel], expected)


def test_plain_color_view_of_a_gray_image_has_equal_channels():
    view = plain_color_view(Image.fromarray(RANDOM), 28)
    np.testing.assert_array_equal(view, np.repeat(RANDOM[..., None], 3, axis=2))


def test_plain_color_view_is_composited_on_white():
    view = plain_color_view(Image.new("RGBA", (30, 30), (0, 0, 100, 51)), 28)
    assert view[14, 14].tolist() == [204, 204, 224]
