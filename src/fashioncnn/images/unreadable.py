"""Errors of several image files, reported together."""

from __future__ import annotations

from collections.abc import Sequence

from fashioncnn.errors import ImageError

MAX_LISTED = 20
"""Unreadable files that are listed; the number of all others is reported."""


class UnreadableImagesError(ImageError):
    """Image files cannot be read.

    Args:
        errors: one for each file.
        can_skip: whether the caller can set ``skip_broken``.

    Attributes:
        listed: messages about the first `MAX_LISTED` files, and the number of the others.
    """

    def __init__(self, errors: Sequence[ImageError], *, can_skip: bool = True) -> None:
        self.count = len(errors)
        self.listed = [str(error) for error in errors[:MAX_LISTED]]
        if self.count > MAX_LISTED:
            self.listed.append(f"and {self.count - MAX_LISTED:,} more")
        remedy = ", or set skip_broken" if can_skip else ""
        super().__init__(f"{self.summary}{remedy}: {'; '.join(self.listed)}")

    @property
    def summary(self) -> str:
        """How many files there are, and what to do."""
        if self.count == 1:
            return "1 image file cannot be read; repair or remove it"
        return f"{self.count:,} image files cannot be read; repair or remove them"


def raise_together(errors: Sequence[ImageError]) -> None:
    """Raise the only error, or one that lists all of them; do nothing if there are none."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise UnreadableImagesError(errors, can_skip=False)
