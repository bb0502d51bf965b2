"""Where a run or search is tracked, and as which runs of the trackers: ``tracking.json``."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashioncnn.files import write_json
from fashioncnn.reading import TRACKING_BYTES, parse_json, read_bytes

NAME = "tracking.json"
PLACES = "track"
"""Key of the values of ``--track``, without passwords."""


class TrackingRecord:
    """The places of a tracked run and its identity there, so that a resumed run continues it.

    Attributes:
        path: of the file; None keeps nothing, for a training in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / NAME
        self._lock = threading.Lock()  # each tracker has its thread
        self._content = self._read()

    @property
    def places(self) -> list[str]:
        """Where the run was tracked last, as values of ``--track`` without passwords."""
        values = self._content.get(PLACES)
        return [v for v in values if isinstance(v, str)] if isinstance(values, list) else []

    def remember_places(self, places: Sequence[str]) -> None:
        """Store where the run is tracked.

        Raises:
            OSError, WriteError: the file cannot be written.
        """
        self._store(PLACES, list(places))

    def identity(self, kind: str) -> str | None:
        """Return what was remembered for a kind of tracker."""
        value = self._content.get(kind)
        return value if isinstance(value, str) else None

    def remember(self, kind: str, identity: str) -> None:
        """Store the identity of a run."""
        self._store(kind, identity)

    def _store(self, key: str, value: str | list[str]) -> None:
        with self._lock:
            if self._content.get(key) == value:
                return
            self._content[key] = value
            if self.path is not None:
                write_json(self.path, self._content)

    def _read(self) -> dict[str, Any]:
        if self.path is None or not self.path.exists():
            return {}
        try:
            content = parse_json(read_bytes(self.path, TRACKING_BYTES))
        except (OSError, ValueError):
            return {}  # the run is tracked as a new one
        return content if isinstance(content, dict) else {}
