"""The drawing area with mouse, touch and keyboard."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from .conftest import await_answers

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

T_SHIRT = [(0.4, 0.1), (0.3, 0.15), (0.1, 0.35), (0.2, 0.45), (0.3, 0.38), (0.3, 0.9), (0.52, 0.9)]
"""The left outline of a T-shirt, as fractions of the drawing area."""


ENCODE = """
async ([pixels, width]) => {
  const { encodePng } = await import("./png.js");
  return [...new Uint8Array(await encodePng(new Uint8Array(pixels), width).arrayBuffer())];
}
"""


def sent_drawing(page) -> np.ndarray:
    """Send the drawing and return its pixels as the model gets them."""
    count = page.locator(".card").count()
    page.get_by_role("button", name="Classify drawing").click()
    await_answers(page, count + 1)
    view = page.locator(".card").first.locator(".view img:not(.heat)")
    image = read_png(base64.b64decode(view.get_attribute("src").partition(",")[2]))
    assert image.shape == (28, 28)
    return image


def read_png(content: bytes) -> np.ndarray:
    """Return the pixels of a PNG of gray levels."""
    with Image.open(BytesIO(content)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def drag(page, *points: tuple[float, float]) -> None:
    box = page.locator("#canvas").bounding_box()
    place = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*place[0])
    page.mouse.down()
    for point in place[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def choose_tool(page, name: str) -> None:
    page.get_by_role("radio", name=name).check()


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 200)])
def test_png(page, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    content = page.evaluate(ENCODE, [pixels.ravel().tolist(), shape[1]])
    assert np.array_equal(read_png(bytes(content)), pixels)


def test_a_t_shirt_drawn_with_the_mouse(page):
    page.get_by_label("Mirror left and right").check()
    drag(page, *T_SHIRT)
    drag(page, (0.4, 0.1), (0.5, 0.2))
    choose_tool(page, "Fill")
    drag(page, (0.45, 0.6))
    pixels = sent_drawing(page)
    assert np.array_equal(pixels, pixels[:, ::-1])
    assert pixels[17, 14] == 215  # the default brightness
    assert pixels[0, 0] == pixels[27, 27] == 0
    expect(page.locator(".card .label")).to_have_text("T-shirt/top")
    expect(page.locator(".card .name")).to_have_text("drawing-1.png")


def test_a_stroke_has_its_width_and_brightness(page):
    page.locator("#width").fill("1")
    page.locator("#shade").fill("255")
    drag(page, (10.5 / 28, 2.5 / 28), (10.5 / 28, 20.5 / 28))
    pixels = sent_drawing(page)
    assert (pixels[3:20, 10] > 240).all()  # the mouse is at whole pixels of the screen
    assert not pixels[:, 13:].any()


def test_undo_erase_and_erase_all(page):
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    drag(page, (0.2, 0.5), (0.8, 0.5))
    before = sent_drawing(page)
    choose_tool(page, "Erase")
    drag(page, (0.2, 0.5), (0.5, 0.5))
    assert sent_drawing(page)[14, 8] == 0
    page.get_by_role("button", name="Undo").click()
    assert np.array_equal(sent_drawing(page), before)
    page.get_by_role("button", name="Erase all").click()
    page.get_by_role("button", name="Classify drawing").click()
    expect(page.get_by_role("alert")).to_have_text(
        "The drawing area is empty. Draw something first."
    )


def test_keyboard(page):
    canvas = page.locator("#canvas")
    canvas.focus()
    page.locator("#width").fill("1")
    canvas.focus()
    page.keyboard.press("Space")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowDown")
    pixels = sent_drawing(page)
    assert pixels[14, 14:18].min() == 215
    assert not pixels[16:].any()
    canvas.focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#status")).to_have_text("Row 15, column 18, brightness 84%")
    for _ in range(4):
        page.keyboard.press("Control+Z")
    expect(page.get_by_role("button", name="Erase all")).to_be_disabled()


def test_touch_draws_and_does_not_scroll(open_page, server):
    page = open_page(server, size=(390, 844), has_touch=True, is_mobile=True)
    page.locator("#canvas").scroll_into_view_if_needed()
    scrolled = page.evaluate("() => scrollY")
    box = page.locator("#canvas").bounding_box()
    session = page.context.new_cdp_session(page)
    x, y, side = box["x"], box["y"], box["width"]
    path = [(0.3, 0.2 + 0.05 * step) for step in range(12)]
    for kind, points in [("touchStart", path[:1]), *(("touchMove", [p]) for p in path[1:])]:
        touches = [{"x": x + a * side, "y": y + b * side} for a, b in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.evaluate("() => scrollY") == scrolled
    assert (sent_drawing(page)[7:20, 8] > 100).all()
