"""The documentation builds as a site without warnings, and loads nothing from other servers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fashioncnn

ROOT = Path(__file__).parents[1]
PUBLIC = sorted(set(fashioncnn.__all__) - {"__version__"})


def test_api_page_lists_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    listed = set(re.findall(r"\b[A-Za-z_]+\b", page))
    errors = {name for name in PUBLIC if hasattr(fashioncnn.errors, name)}
    assert "::: fashioncnn.errors" in page
    assert set(PUBLIC) - errors <= listed


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs_autorefs", reason="builds the site")
    pytest.importorskip("material", reason="the theme of the site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api.html").read_text("utf-8")
    assert [name for name in PUBLIC if f'.{name}"' not in api] == []
    loaded = re.compile(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(https?:[^\" >]*)")
    for page in tmp_path.rglob("*.html"):
        assert loaded.findall(page.read_text("utf-8")) == [], page
