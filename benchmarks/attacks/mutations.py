"""Mutations of valid inputs, a function of the random number generator."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm", "avif")
EXTREMES: list[Any] = [
    None, True, -1, 0, 1, 10**9, 10**30, 1e308, -1e-308, float("nan"), float("inf"), "", "\0",
    "x" * 10**5, [], {}, [[]] * 100, {"a": 1},
]  # fmt: skip


def mutate(random: Random, content: bytes) -> bytes:
    """Return `content` with some bytes changed, inserted, removed, repeated or cut off."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = random.randrange(256)
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            data[at:at] = random.randbytes(random.choice((1, 4, 100)))
        elif kind == 3:
            del data[at : at + random.choice((1, 4, 100))]
        elif kind == 4:
            data[at : at + 4] = random.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        else:
            del data[at:]
    return bytes(data)


def image(random: Random) -> tuple[str, bytes]:
    """Return the format and the mutated bytes of a small image."""
    name, content = intact_image(random)
    return name, mutate(random, content)


def intact_image(random: Random) -> tuple[str, bytes]:
    """Return the format and the bytes of a small image."""
    size = (random.choice((1, 28, 60)), random.choice((1, 28, 60)))
    pixels = np.frombuffer(random.randbytes(size[0] * size[1] * 3), np.uint8)
    buffer = io.BytesIO()
    name = random.choice(FORMATS)
    Image.fromarray(pixels.reshape(size[1], size[0], 3)).save(buffer, name)
    return name, buffer.getvalue()


def write_idx_file(random: Random, path: Path, content: bytes) -> None:
    """Write an IDX file, gzipped or not, mutated before or after the compression, or intact."""
    if random.random() < 0.5:
        content = mutate(random, content)
    if random.random() < 0.5:
        path = path.with_name(f"{path.name}.gz")
        content = gzip.compress(content, 1)
        if random.random() < 0.5:
            content = mutate(random, content)
    path.write_bytes(content)


def mutate_json(random: Random, value: Any) -> Any:
    """Return a JSON value in which one value is extreme, missing or of another type."""
    if isinstance(value, dict) and value and random.random() < 0.95:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutate_json(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        return [*value[:at], mutate_json(random, value[at]), *value[at + 1 :]]
    return random.choice(EXTREMES)


def mutate_lines(random: Random, content: bytes) -> bytes:
    """Return lines of JSON with one line changed, missing, repeated or moved."""
    lines = content.splitlines(keepends=True)
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(other, lines[at])
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == 3:
        lines[at] = json.dumps(mutate_json(random, json.loads(lines[at]))).encode() + b"\n"
    else:
        lines[at] = mutate(random, lines[at])
    return b"".join(lines)
