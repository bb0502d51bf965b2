"""Example images of the web page of ``fashioncnn serve``, drawn without any dataset.

Garments, and a key, which is none of the classes, are SVG paths with a texture and a soft shadow
on a surface, rendered by Chromium to JPEG; sketches are images of `fashioncnn.data.sketches`.
Needs Debian's ``chromium`` and the extra ``[dev]``::

    python benchmarks/page_examples.py --out src/fashioncnn/serving/page/examples
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from common import make_parser
from fashioncnn.data.sketches import draw_sketches

SIDE = 480
QUALITY = 82
CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SKETCHES = {"sketch-shirt": (6, 8), "sketch-sandal": (5, 0)}
"""By file name: label, and number among the training images of this label."""


@dataclass(frozen=True)
class Garment:
    """A drawing in a square of 100 units.

    Attributes:
        surface: color below the garment.
        color: of the fabric.
        outline: path of the silhouette.
        details: SVG elements inside the silhouette; ``currentColor`` is a darker fabric color.
        dark: color of seams and details.
        texture: base frequency of the fabric's noise.
    """

    surface: str
    color: str
    outline: str
    details: str
    dark: str
    texture: str = "0.9 0.9"


GARMENTS = {
    "t-shirt": Garment(
        "#e9e4da",
        "#2f4b6e",
        "M37 16 C40 22 60 22 63 16 C70 18 77 21 82 25 L93 45 L79 52 L74 44 "
        "C73 58 74 74 75 88 C60 91 40 91 25 88 C26 74 27 58 26 44 L21 52 L7 45 L18 25 "
        "C23 21 30 18 37 16 Z",
        '<path d="M36 16.5 C40 25 60 25 64 16.5" stroke-width="1.6"/>'
        '<path d="M26 44 C27 38 27 32 25 27 M74 44 C73 38 73 32 75 27" stroke-width=".7"/>'
        '<path d="M25.3 85 C40 88 60 88 74.7 85 M10 42.5 L20.5 48.5 M90 42.5 L79.5 48.5" '
        'stroke-width=".5"/>'
        '<path d="M32 50 C36 60 35 72 33 82 M66 46 C62 60 65 70 68 80 M48 36 C50 50 47 64 50 78" '
        'stroke-width="3" opacity=".25"/>',
        "#1d3350",
    ),
    "trousers": Garment(
        "#d9d3c7",
        "#4b4f57",
        "M33 8 L67 8 C69 24 71 60 70 94 L55 94 C55 70 53 48 50.5 34 L49.5 34 "
        "C47 48 45 70 45 94 L30 94 C29 60 31 24 33 8 Z",
        '<path d="M32.6 12.5 L67.4 12.5" stroke-width=".8"/>'
        '<path d="M50 12.5 L50 34 M50 20 C53 22 54 27 50.5 33" stroke-width=".7"/>'
        '<path d="M33 13 C36 17 36 21 32 25 M67 13 C64 17 64 21 68 25" stroke-width=".8"/>'
        '<path d="M38 8 v5 M62 8 v5 M50 8 v5" stroke-width="1.2"/>'
        '<path d="M38 34 C37 56 37 74 37.5 93 M62 34 C63 56 63 74 62.5 93" stroke-width="1.6" '
        'opacity=".35"/>',
        "#2c2f35",
        "0.35 1.4",
    ),
    "dress": Garment(
        "#efe9e2",
        "#8d2f3f",
        "M40 6 L43.5 6 C44 17 56 17 56.5 6 L60 6 C60.5 16 63 21 66 25 C64 32 61 38 61 45 "
        "C66 60 73 78 77 93 C60 97 40 97 23 93 C27 78 34 60 39 45 C39 38 36 32 34 25 "
        "C37 21 39.5 16 40 6 Z",
        '<path d="M39 45 C46 47 54 47 61 45" stroke-width="1.4"/>'
        '<path d="M42 48 C40 64 36 80 33 94 M50 48 C50 64 49 80 50 95 M58 48 C60 64 64 80 67 94 '
        'M46 48 C45 64 42 80 41 95 M54 48 C55 64 58 80 59 95" stroke-width="1.8" opacity=".4"/>'
        '<path d="M43 7 C43.5 19 56.5 19 57 7" stroke-width=".9"/>',
        "#5d1a27",
    ),
    "bag": Garment(
        "#e4e2dc",
        "#9a6236",
        "M18 42 C18 39 20 37 23 37 L77 37 C80 37 82 39 82 42 L86 84 C86 88 84 90 80 90 L20 90 "
        "C16 90 14 88 14 84 Z",
        '<path d="M17.6 46 C30 62 70 62 82.4 46" stroke-width="1.2"/>'
        '<path d="M18.5 44 C30 59.5 70 59.5 81.5 44" stroke-width=".5" stroke-dasharray="1.6 1"/>'
        '<rect x="46" y="53" width="8" height="9" rx="1.5" fill="#d9b45f" stroke="#8a6a24" '
        'stroke-width=".5"/>'
        '<path d="M16 84 L84 84" stroke-width=".6" stroke-dasharray="1.6 1"/>',
        "#5f3818",
    ),
    "boot": Garment(
        "#e6e3dd",
        "#6b4529",
        "M52 12 C60 10 72 10 80 13 C81 30 80 46 83 58 C85 66 86 74 85 82 L70 83 L68 80 "
        "C52 83 30 85 12 83 C10 76 13 70 20 67 C32 62 43 56 49 47 C53 38 53 24 52 12 Z",
        '<path d="M52 17 C60 15 72 15 80.3 18" stroke-width="1"/>'
        '<path d="M49 47 C56 50 60 56 61 66 M61 66 C66 70 76 71 84.5 68" stroke-width=".8"/>'
        '<path d="M12 80 C30 82 52 80 67 77 L85 79" stroke-width="1.8"/>'
        '<path d="M54 26 L60 28 M54 33 L60 35 M52 40 L59 42 M49 46 L56 49" stroke="#e9dcc3" '
        'stroke-width="1.1"/>',
        "#3a2412",
    ),
    "key": Garment(
        "#e6e3dd",
        "#b08d3e",
        "M70 28 C70 14 58 8 50 8 C40 8 30 16 30 28 C30 38 36 44 44 47 L44 62 L38 66 L44 70 "
        "L38 75 L44 80 L38 86 L50 93 L56 88 L56 47 C64 44 70 38 70 28 Z M56 22 C56 28 52 30 "
        "50 30 C46 30 44 27 44 22 C44 18 47 16 50 16 C54 16 56 19 56 22 Z",
        '<path d="M50 49 L50 89" stroke-width="1" opacity=".6"/>',
        "#6b5320",
        "0.03 0.03",
    ),
}
EXTRAS = {
    "bag": '<path d="M34 38 C34 6 66 6 66 38" fill="none" stroke="#5f3818" stroke-width="4"/>'
    '<path d="M34 38 C34 6 66 6 66 38" fill="none" stroke="#9a6236" stroke-width="2.4"/>',
}
"""Elements behind a silhouette."""
PAGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}"
viewBox="0 0 100 100">
<defs>
<filter id="surface" x="0" y="0" width="100%" height="100%">
<feTurbulence type="fractalNoise" baseFrequency="0.03 0.5" numOctaves="4" seed="3"/>
<feColorMatrix values="0 0 0 0 .5  0 0 0 0 .45  0 0 0 0 .4  .35 0 0 0 -.1"/></filter>
<filter id="fabric" x="0" y="0" width="100%" height="100%">
<feTurbulence type="fractalNoise" baseFrequency="{texture}" numOctaves="3" seed="8" result="n"/>
<feColorMatrix in="n" values="0 0 0 0 0  0 0 0 0 0  0 0 0 0 0  .9 0 0 0 -.28"/>
<feComposite in2="SourceGraphic" operator="in"/></filter>
<filter id="shadow" x="-20%" y="-20%" width="140%" height="140%">
<feDropShadow dx="1" dy="1.6" stdDeviation="1.8" flood-color="#2a2114" flood-opacity=".5"/></filter>
<linearGradient id="light" x1="0" y1="0" x2="1" y2="1">
<stop offset="0" stop-color="#fff" stop-opacity=".28"/>
<stop offset=".5" stop-color="#fff" stop-opacity="0"/>
<stop offset="1" stop-color="#000" stop-opacity=".3"/></linearGradient>
<radialGradient id="vignette" cx=".42" cy=".36" r=".85">
<stop offset=".3" stop-color="#fff" stop-opacity=".12"/>
<stop offset="1" stop-color="#3b2f1d" stop-opacity=".22"/></radialGradient>
<clipPath id="shape"><path d="{outline}" clip-rule="evenodd"/></clipPath>
</defs>
<rect width="100" height="100" fill="{surface}"/>
<rect width="100" height="100" filter="url(#surface)"/>
<rect width="100" height="100" fill="url(#vignette)"/>
<g transform="translate(50 50) scale(.86) rotate(2) translate(-50 -50)">
<g filter="url(#shadow)">{extra}<path d="{outline}" fill="{color}" fill-rule="evenodd"/></g>
<g clip-path="url(#shape)">
<path d="{outline}" fill="{color}" fill-rule="evenodd" filter="url(#fabric)" opacity=".8"/>
<g fill="none" stroke="{dark}" stroke-linecap="round">{details}</g>
<rect width="100" height="100" fill="url(#light)"/>
</g></g></svg>"""


def draw(garment: Garment, extra: str) -> str:
    """Return an SVG document of a garment on its surface."""
    return PAGE.format(side=SIDE, extra=extra, **vars(garment))


def main() -> None:
    """Write all examples."""
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the images")
    folder: Path = parser.parse_args().out
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = browser.new_page(viewport={"width": SIDE, "height": SIDE})
        for name, garment in GARMENTS.items():
            page.set_content(f"<style>*{{margin:0}}</style>{draw(garment, EXTRAS.get(name, ''))}")
            image = Image.open(BytesIO(page.screenshot())).convert("RGB")
            image.save(folder / f"{name}.jpg", quality=QUALITY, optimize=True)
        browser.close()
    images, labels = draw_sketches().train.images, draw_sketches().train.labels
    for name, (label, number) in SKETCHES.items():
        Image.fromarray(images[labels == label][number]).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
