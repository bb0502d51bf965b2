"""Damaged images and forms: an answer with a status that is documented, and a usable server."""

import random
from pathlib import Path

import pytest

from .conftest import check_problem, encode, load_predictor, running, shirt

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"]
VARIANTS = 12
"""Damaged files per format."""


@pytest.fixture(scope="module")
def accurate():
    """A client of a model whose views take less time."""
    with running(load_predictor(Path("accurate"), "auto", 1)) as server, server.client() as client:
        yield client


def damage(content: bytes, generator: random.Random) -> bytes:
    """Change bytes, cut, or repeat a piece."""
    kind = generator.randrange(3)
    start = generator.randrange(len(content))
    if kind == 0:
        return content[:start]
    if kind == 1:
        return content[:start] + content[start // 2 :]
    changed = bytearray(content)
    for _ in range(generator.randrange(1, 20)):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("image_format", FORMATS)
def test_damaged_images(accurate, png, image_format):
    generator = random.Random(image_format)
    content = encode(shirt(120, "RGB"), image_format)
    for _ in range(VARIANTS):
        response = accurate.post("/v1/predict", content=damage(content, generator))
        if response.status_code != 200:
            check_problem(response, 422)
    assert accurate.post("/v1/predict", content=png).status_code == 200


def test_damaged_forms(accurate, png):
    client = accurate
    generator = random.Random(0)
    request = client.build_request("POST", "/v1/predict", files={"images": ("a.png", png)})
    form = request.read()
    for _ in range(40):
        content_type = request.headers["content-type"]
        if generator.random() < 0.2:
            content_type = damage(content_type.encode(), generator).decode("latin-1")
            content_type = "".join(c for c in content_type if " " <= c < "\x7f").strip()
        headers = {"content-type": content_type}
        response = client.post("/v1/predict", content=damage(form, generator), headers=headers)
        if response.status_code != 200:
            check_problem(response, response.status_code)
            assert response.status_code in (400, 415, 422)
    assert client.post("/v1/predict", content=png).status_code == 200
