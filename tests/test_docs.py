"""Documentation: code blocks run, links resolve, flags exist, wording follows the style guide.

Every fenced block of the README and the guide runs, in page order and in one folder per page:

- ``console``: one command per line; ``# exit code 2`` at its end expects that exit code.
- ``python``: executed; all blocks of a page share one namespace.
- ``text`` and ``json`` directly after such a block: its output. The lines have to occur in this
  order; numbers are not compared, and ``…`` stands for any text.
- ``file=NAME`` after ``toml`` or ``python``: written to that file.

``no-run`` after the language switches a block off.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.cli import COMMANDS, GROUPS, main
from fashioncnn.cli.options import RENAMED_FLAGS
from fashioncnn.data.dataset import Dataset

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
HISTORY = {ROOT / "CHANGELOG.md", ROOT / "docs" / "LOG.md"}
"""They name what earlier versions were called."""
SLOW_PAGES = {"tune", "performance"}
"""They start worker processes, or measure for seconds."""
FENCE = re.compile(r"^```([\w-]*) *([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    language: str
    info: str
    content: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(match[1], match[2], match[3], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def commands_of(block: Block) -> Iterator[str]:
    """Yield the commands of a console block, with continued lines joined."""
    for line in block.content.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


class Page:
    """Runs the blocks of one page and compares their output."""

    def __init__(self) -> None:
        self.namespace: dict[str, object] = {}
        self.output = ""

    def run(self, block: Block) -> None:
        if block.info.startswith("file="):
            Path(block.info.removeprefix("file=")).write_text(block.content, "utf-8")
        elif block.language == "console":
            self.output = "".join(self._run_command(command) for command in commands_of(block))
        elif block.language == "python":
            with captured() as text:
                exec(compile(block.content, "block", "exec"), self.namespace)
            self.output = text.getvalue()
        elif block.language in ("text", "json"):
            assert_occurs(block.content, self.output)
        else:
            raise AssertionError(f"```{block.language}: console, python, text, json or toml")

    def _run_command(self, command: str) -> str:
        expected = re.search(r"# exit code (\d+)$", command)
        source, _, ours = command.rpartition(" | ")
        words = shlex.split(ours, comments=True)
        if words[0] == "fashioncnn":
            piped = run_in_shell(source) if source else b""
            with captured() as text, standard_input(piped):
                code, output = run_in_process(words[1:]), text.getvalue()
        else:
            code, output = 0, run_in_shell(command).decode()
        assert code == (int(expected[1]) if expected else 0), f"{command}\n{output}"
        return output


def run_in_shell(command: str) -> bytes:
    done = subprocess.run(["bash", "-c", command], check=True, stdout=subprocess.PIPE)
    return done.stdout


@contextlib.contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    """Replace stdin, also its binary buffer."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content))
    try:
        yield
    finally:
        sys.stdin = before


def run_in_process(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


@contextlib.contextmanager
def captured() -> Iterator[io.StringIO]:
    """Give the text that is written to stdout and stderr."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        yield text


def assert_occurs(expected: str, output: str) -> None:
    """Assert that the lines of `expected` occur in the output, in this order."""
    remaining = iter([without_numbers(line) for line in output.splitlines()])
    for line in expected.splitlines():
        pattern = ".*".join(re.escape(without_numbers(piece)) for piece in line.split("…"))
        if pattern.replace(".*", ""):
            found = any(re.fullmatch(f" ?{pattern} ?", candidate) for candidate in remaining)
            assert found, f"not in the output: {line}\n{output}"


def without_numbers(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,:e+-]*", "0", line)).strip()


@pytest.fixture
def files(sketches) -> None:
    """Create the images that the pages name: photographs are enlarged drawings."""
    for name, label in (("shoe.jpg", 7), ("coat.jpg", 4), ("bag.png", 8)):
        save_drawing(sketches, label, 0, Path(name))
    for label in (0, 1, 9):
        save_drawing(sketches, label, 1, Path("closet") / f"{label}.png")
    for label, name in ((1, "trousers"), (8, "bags")):
        for number in range(12):
            save_drawing(sketches, label, number, Path("clothes") / name / f"{number}.png")


def save_drawing(sketches, label: int, number: int, path: Path) -> None:
    drawings = sketches.train.images[sketches.train.labels == label]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(255 - drawings[number]).resize((112, 112)).save(path)


def subset_of(dataset: Dataset) -> Dataset:
    """Return fewer images, so that trainings take a fraction of a second."""
    train, test = (
        dataset.train.subset(np.arange(600)),
        dataset.require_test().subset(np.arange(200)),
    )
    return replace(dataset, train=train, test=test)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in SLOW_PAGES))
        for page in (README, *GUIDE)
        if any("no-run" not in block.info for block in blocks_of(page))
    ],
)
def test_code_blocks_run(page, files, sketches, monkeypatch):
    if page.stem not in SLOW_PAGES:  # their worker processes draw the whole dataset
        monkeypatch.setattr("fashioncnn.data.load.draw_sketches", lambda: subset_of(sketches))
    state = Page()
    for block in blocks_of(page):
        if "no-run" not in block.info:
            try:
                state.run(block)
            except Exception as error:
                raise AssertionError(f"{page.name}:{block.line}: {error}") from error


def test_readme_has_at_most_700_words():
    assert len(README.read_text("utf-8").split()) <= 700


def prose_of(document: Path) -> str:
    """Return the text with the content of fenced blocks left out, line numbers unchanged."""
    text = document.read_text("utf-8")
    return FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(document):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in anchors_of(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_of_benchmarks_and_results_exist(document):
    paths = re.findall(r"\bbenchmarks/[\w./-]*[\w/]", document.read_text("utf-8"))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_lines_of_prose_fit_160_columns(document):
    lines = re.sub(r"\]\([^)]*\)", "]", prose_of(document)).splitlines()
    too_long = [
        number
        for number, line in enumerate(lines, 1)
        if len(line) > 160 and not line.lstrip().startswith(("|", "<!--", "!["))
    ]
    assert too_long == []


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """Return the flags of every command, by its name as in ``bench train``."""
    names = [[name] for name in COMMANDS if name not in GROUPS]
    names += [[group, name] for group in GROUPS for name in GROUPS[group]]
    found = {}
    for name in names:
        with captured() as text:
            assert run_in_process([*name, "--help"]) == 0
        found[" ".join(name)] = {"--help", *re.findall(r"(?<![\w-])--[a-z][\w-]*", text.getvalue())}
    return found


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if d not in HISTORY], ids=lambda path: path.name
)
def test_flags_in_documents_exist(document, flags):
    paragraphs = prose_of(document).split("\n\n")
    spans = [s for p in paragraphs for s in re.findall(r"(?<!`)`([^`]+)`(?!`)", p)]
    commands = [c for b in blocks_of(document) if b.language == "console" for c in commands_of(b)]
    any_command = set.union(*flags.values()) | {"--version"}
    unknown = []
    for words in map(str.split, [*spans, *commands]):
        known = any_command
        if words[0].rpartition("/")[2] == "fashioncnn":
            name = " ".join(words[1:3]) if words[1:2] == ["bench"] else "".join(words[1:2])
            known = flags.get(name, any_command)
        elif not words[0].startswith("--"):
            continue  # a command of another program
        given = {w.partition("=")[0] for w in words if re.match(r"--[a-z]", w)}
        unknown += sorted(given - known)
    assert unknown == []


AVOIDED = {
    "picture": "image",
    r"\blearnt\b|\blearners?\b": "trained, train state",
    r"\bpupil|\btaught\b": "student, distillation",
    r"\bjudg(e|ed|es|ing|ment|ement)": "evaluate, metrics",
    r"\b(test|validation|training|held-out) parts?\b": "split",
    r"\bunsure\b": "abstain",
    r"\bmembership\b": "OOD detector",
    r"mirror(ed)? (image|network)": "horizontal flip",
    r"\bhostile\b": "untrusted",
    r"throw-?away|\bby hand\b": "ad hoc",
    r"\btold\b|\bwished\b|\bsomebody\b": "reported, requested",
}
"""Wording that the style guide avoids, and what it uses instead."""
TEXT_SUFFIXES = {".py", ".toml", ".md", ".j2", ".c", ".h"}
READS_OLD_NAMES = ROOT / "src" / "fashioncnn" / "migration.py"


@pytest.mark.parametrize("avoided", AVOIDED)
def test_terminology_is_standard(avoided):
    source = (p for p in (ROOT / "src").rglob("*") if p.suffix in TEXT_SUFFIXES)
    found = []
    for path in sorted({*source, *DOCUMENTS} - HISTORY - {READS_OLD_NAMES}):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            current = re.sub("|".join(RENAMED_FLAGS), "", line)
            if re.search(avoided, current, re.IGNORECASE):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == [], f"use {AVOIDED[avoided]}"
