"""Where a resumed run is tracked, if ``--track`` is not given again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fashioncnn.cli.console import note
from fashioncnn.errors import MissingExtraError

if TYPE_CHECKING:
    from fashioncnn.tracking.options import TrackerOption

MAX_PLACE = 500
"""Characters of a place that is shown; it may come from others."""


def resumed_trackers(
    path: Path, given: Sequence[TrackerOption], folders: Iterable[Path]
) -> Sequence[TrackerOption]:
    """Return the trackers that are given, else those in or beside the run that it had before.

    A server or folder that only a file of the run names is not used, since runs may come from
    others; a note says how to name it.

    Args:
        path: of the run or group.
        given: with ``--track``.
        folders: of the run, or of the runs of the group.
    """
    from fashioncnn.tracking.options import KINDS, parse_trackers
    from fashioncnn.tracking.record import TrackingRecord

    if given:
        return given
    places = dict.fromkeys(place for folder in folders for place in TrackingRecord(folder).places)
    continued: list[TrackerOption] = []
    for place in places:
        if place in KINDS:
            try:
                continued += parse_trackers(place)
            except MissingExtraError as error:
                note(f"{path}: not tracked any more ({error})")
        elif place.startswith(tuple(f"{kind}:" for kind in KINDS)) and len(place) <= MAX_PLACE:
            note(
                f"{path}: not tracked any more; to continue where it was, give "
                f"{shlex.join(['--track', place])}"
            )
    return continued


def track_arguments(trackers: Sequence[TrackerOption]) -> list[str]:
    """Return what a command needs to continue tracking, without passwords; see above."""
    if all(option.target is None for option in trackers):
        return []
    return [argument for option in trackers for argument in ("--track", str(option))]
