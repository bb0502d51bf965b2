"""Hooks of mkdocs: pages outside docs/, links to files that are not on the site, code blocks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "index.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
"""Files of the repository that are pages of the site, by the name of the page."""
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```(\w+)(.*)$", re.MULTILINE)
"""The first line of a code block; after the language, options for `tests/test_docs.py`."""


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages outside docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page whose links lead to pages; links to other files become text.

    Code blocks lose the options of the tests, with which Markdown would not recognize them; a file
    name becomes their title. Commands have no prompt, so ``console`` would show them as output.
    """
    uri = page.file.src_uri
    source = ROOT / PAGES.get(uri, f"docs/{uri}")

    def rewrite(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups()
        path = (source.parent / target).resolve().relative_to(ROOT).as_posix()
        names = {source: name for name, source in PAGES.items()}
        name = names.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if name is None or (ROOT / path).is_dir():
            return text
        return f"{image}[{text}]({'../' * uri.count('/')}{name}{anchor or ''})"

    return FENCE.sub(_plain_fence, LINK.sub(rewrite, markdown))


def _plain_fence(match: re.Match[str]) -> str:
    language, options = match.groups()
    file = re.search(r"\bfile=(\S+)", options)
    title = f' title="{file[1]}"' if file else ""
    return f"```{'bash' if language == 'console' else language}{title}"
