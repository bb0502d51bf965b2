"""Screenshot of the web page of ``fashioncnn serve``, for the README.

Starts the server with the model ``photo`` and classifies examples of the page in headless Chromium.
Needs Debian's ``chromium`` and the extra ``[dev]``; the page uses the font Inter where it is
installed (``fonts-inter``)::

    python benchmarks/page_screenshot.py --out docs/img/serve.png
"""

from __future__ import annotations

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, expect, sync_playwright

from common import make_parser
from page_examples import CHROMIUM, OPTIONS

WIDTH, MARGIN = 1280, 24
OUTLINE = [
    (0.4, 0.1),
    (0.27, 0.15),
    (0.06, 0.38),
    (0.17, 0.5),
    (0.28, 0.42),
    (0.28, 0.9),
    (0.5, 0.9),
]
NECK = [(0.4, 0.1), (0.5, 0.17)]
"""The left half of a T-shirt, as fractions of the drawing area."""
COLORS = 256
"""Of the palette, with which the file is a third of the size."""


def take_screenshot(address: str) -> Image.Image:
    """Return an image of the page with a drawing and the answer for an example."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport={"width": WIDTH, "height": 1400})
        page.emulate_media(reduced_motion="reduce")
        page.goto(address)
        expect(page.locator("#about")).to_be_visible(timeout=60_000)
        draw_t_shirt(page)
        page.get_by_role("button", name="Boot").click()
        expect(page.locator(".view")).not_to_have_count(0, timeout=60_000)
        page.mouse.move(0, 0)
        page.evaluate("() => { scrollTo(0, 0); document.activeElement.blur(); }")
        box = page.locator(".card").bounding_box()
        height = MARGIN + (box["y"] + box["height"] if box else 0)
        area = FloatRect(x=0, y=0, width=WIDTH, height=height)
        content = page.screenshot(clip=area)
        browser.close()
    return Image.open(BytesIO(content)).convert("RGB")


def draw_t_shirt(page: Page) -> None:
    """Draw and fill a T-shirt with the mouse."""
    page.get_by_label("Mirror left and right").check()
    for points in (OUTLINE, NECK):
        drag(page, points)
    page.get_by_role("radio", name="Fill").check()
    drag(page, [(0.5, 0.6)])
    page.get_by_role("radio", name="Brush").check()


def drag(page: Page, points: list[tuple[float, float]]) -> None:
    """Move the mouse over points of the drawing area with its button pressed."""
    box = page.locator("#canvas").bounding_box()
    if box is None:
        raise SystemExit("the drawing area is not visible")
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def main() -> None:
    """Write the screenshot."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    out: Path = parser.parse_args().out
    command = [sys.executable, "-m", "fashioncnn", "serve", "photo", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        line = server.stderr.readline() if server.stderr else ""
        try:
            address = re.search(r"http://[^\s;]+", line)
            if address is None:
                raise SystemExit(f"the server does not start: {line.strip()}")
            image = take_screenshot(address.group())
        finally:
            server.terminate()
            server.communicate()
    image.quantize(COLORS).save(out, optimize=True)


if __name__ == "__main__":
    main()
