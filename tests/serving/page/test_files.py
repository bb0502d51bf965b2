"""The files of the page, without a browser."""

import re

import pytest

from .conftest import EXAMPLES

PAGE = EXAMPLES.parent
FILES = sorted(path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file())
TEXTS = [name for name in FILES if name.endswith((".html", ".css", ".js", ".svg"))]
EXTERNAL = re.compile(r"(?:https?:)?//[\w-]+\.\w+")
NAMESPACE = "http://www.w3.org/2000/svg"
INLINE = re.compile(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE)
MAX_BYTES = 250_000


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_names_another_host(name):
    text = (PAGE / name).read_text(encoding="utf-8").replace(NAMESPACE, "")
    assert EXTERNAL.findall(text) == []


def test_the_page_has_no_inline_scripts_or_styles():
    assert INLINE.findall((PAGE / "index.html").read_text(encoding="utf-8")) == []


def test_every_file_is_used_and_every_reference_exists():
    references = {"index.html"}
    for name in TEXTS:
        text = (PAGE / name).read_text(encoding="utf-8")
        references |= set(re.findall(r'(?:src|href)="([\w./-]+\.\w+)"', text))
        references |= set(re.findall(r'from "\./([\w.-]+)"', text))
    assert references - {"openapi.json"} == set(FILES)


def test_every_id_that_scripts_use_exists():
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    used = set(re.findall(r'(?:byId|getElementById|instantiate)\("([\w-]+)"', scripts))
    assert used - set(re.findall(r'\sid="([\w-]+)"', page)) == set()
    assert len(used) > 20


def test_the_page_is_small():
    assert sum((PAGE / name).stat().st_size for name in FILES) < MAX_BYTES
