"""Which runs of the trackers belong to a folder: ``tracking.json``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fashioncnn.files import write_json
from fashioncnn.reading import TRACKING_BYTES, parse_json, read_bytes

NAME = "tracking.json"


class TrackingRecord:
    """The identity of each tracked run, so that a resumed run continues it.

    Attributes:
        path: of the file; None keeps nothing, for a training in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / NAME
        self._lock = threading.Lock()  # each tracker has its thread
        self._content = self._read()

    def identity(self, kind: str) -> str | None:
        """Return what was remembered for a kind of tracker."""
        value = self._content.get(kind)
        return value if isinstance(value, str) else None

    def remember(self, kind: str, identity: str) -> None:
        """Store the identity of a run."""
        with self._lock:
            if self._content.get(kind) == identity:
                return
            self._content[kind] = identity
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
