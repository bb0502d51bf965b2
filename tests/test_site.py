"""The documentation builds as a site without warnings, and loads nothing from other servers."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import fashioncnn

from .test_docs import GUIDE, prose_of

ROOT = Path(__file__).parents[1]
PAGES = [*GUIDE, ROOT / "docs" / "RESULTS.md", ROOT / "docs" / "SECURITY.md"]
PUBLIC = sorted(set(fashioncnn.__all__) - {"__version__"})


def test_api_page_lists_every_public_name():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    listed = set(re.findall(r"\b[A-Za-z_]+\b", page))
    errors = {name for name in PUBLIC if hasattr(fashioncnn.errors, name)}
    assert "::: fashioncnn.errors" in page
    assert set(PUBLIC) - errors <= listed


@pytest.mark.parametrize("source", PAGES, ids=lambda path: path.name)
def test_code_blocks_of_the_site_have_no_options_of_tests(source):
    pytest.importorskip("mkdocs", reason="builds the site")
    hooks = runpy.run_path(str(ROOT / "docs" / "mkdocs_hooks.py"))
    name = source.relative_to(ROOT / "docs").as_posix()
    page = SimpleNamespace(file=SimpleNamespace(src_uri=name))
    before = source.read_text("utf-8")
    after = hooks["on_page_markdown"](before, page)
    fences = re.findall(r"^```.*$", after, re.MULTILINE)
    assert [f for f in fences if not re.fullmatch(r'```(\w+( title="[\w.]+")?)?', f)] == []
    assert "```console" not in after
    assert after.count('title="') == len(re.findall(r"^```\w+ file=", before, re.MULTILINE))


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
    for source in PAGES:
        page = (tmp_path / source.relative_to(ROOT / "docs")).with_suffix(".html")
        html = page.read_text("utf-8")
        assert html.count("<h2 id=") == len(re.findall(r"^## ", prose_of(source), re.MULTILINE))
        assert "```" not in html, page
    loaded = re.compile(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(https?:[^\" >]*)")
    for page in tmp_path.rglob("*.html"):
        assert loaded.findall(page.read_text("utf-8")) == [], page
