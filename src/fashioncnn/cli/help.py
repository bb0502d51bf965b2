"""The layout of ``--help``."""

from __future__ import annotations

import re
from typing import Any

from cyclopts.help import DefaultFormatter, HelpPanel
from cyclopts.help.inline_text import InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text

LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)\s*")
"""A line break within a paragraph."""


class HelpFormatter(DefaultFormatter):
    """Wraps text to the width of the terminal, wherever its source has line breaks."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel of a help page."""
        for entry in panel.entries:
            _join_lines(entry.description)
        super().__call__(console, options, panel)

    def render_description(
        self, console: Console, options: ConsoleOptions, description: Any
    ) -> None:
        """Print the description of a command."""
        _join_lines(description)
        super().render_description(console, options, description)


def _join_lines(description: Any) -> None:
    """Join the lines of each paragraph, in place."""
    text = description.primary_renderable if isinstance(description, InlineText) else description
    if isinstance(text, Text):
        text.plain = LINE_BREAK.sub(" ", text.plain)
