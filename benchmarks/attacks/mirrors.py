"""Mirrors that truncate, stall, drip, redirect or lie about the length of a file."""

from __future__ import annotations

import hashlib
import time
from unittest.mock import patch

from attacks.lab import Lab, Outcome
from attacks.scenarios import CONTENT, faulty_server
from fashioncnn.data.download import OfficialFile, fetch_fashion_mnist
from fashioncnn.data.http import Limits
from fashioncnn.errors import DataError
from fashioncnn.files import cache_folder

FAULTS = (
    "truncated", "truncated_unknown_length", "empty", "smaller", "larger", "endless", "stalled",
    "silent", "drip", "drip_headers", "slow", "redirects", "redirect_to_file", "missing", "failing",
    "not_http",
)  # fmt: skip
LIMITS = Limits(silence=0.5, window=0.5, total=2)
SECONDS = 10
"""Longest time for a file, on a busy machine."""
FILE = OfficialFile(
    "train-images-idx3-ubyte", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), ""
)


def faulty_mirrors(lab: Lab) -> Outcome:
    """Download from a mirror with each fault, alone and followed by one without fault."""
    outcome = Outcome()
    cases = [(fault, followed) for fault in FAULTS for followed in (False, True)]
    with faulty_server() as address, patch("fashioncnn.data.download.OFFICIAL_FILES", (FILE,)):
        for fault, followed in lab.shuffled(cases):
            mirrors = [f"{address}{fault}/", *([f"{address}good/"] if followed else [])]
            outcome.add(f"{fault}, {len(mirrors)} mirrors", _download(tuple(mirrors), followed))
    return outcome


def _download(mirrors: tuple[str, ...], followed: bool) -> str | None:
    """Return what is wrong with a download into an empty cache."""
    started = time.monotonic()
    failed = False
    try:
        fetch_fashion_mnist(mirrors=mirrors, limits=LIMITS)
    except DataError:
        failed = True
    seconds = time.monotonic() - started
    folder = cache_folder() / "fashion-mnist"
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    if content != ({f"{FILE.name}.gz": CONTENT} if followed else {}):
        return f"another content of the cache: {', '.join(content)}"
    if failed == followed:
        return "success reported" if followed is False else "the good mirror was not used"
    return f"{seconds:.0f} s" if seconds > SECONDS else None
