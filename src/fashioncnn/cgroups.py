"""The processor time that Linux's control groups grant: containers, systemd, Slurm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self")


def granted_cores(process: Path = PROCESS) -> float | None:
    """Return the cores' worth of processor time that the groups of this process grant.

    The lowest limit of its group and those above it: ``cpu.max`` of version 2 (the kernel's
    "Control Group v2", CPU interface files), ``cpu.cfs_quota_us`` of version 1 ("CFS Bandwidth
    Control").

    Args:
        process: its folder in /proc.

    Returns:
        above 0, such as 1.5; None without a limit, or where the system has no control groups.
    """
    try:
        groups = _groups(process)
        limits = [
            limit
            for version, mount, root in _mounts(process)
            for folder in _folders(groups.get(version), mount, root)
            if (limit := _limit(version, folder)) is not None
        ]
    except (OSError, ValueError):  # not Linux, or a format that is not known
        return None
    return min(limits, default=None)


def _groups(process: Path) -> dict[int, PurePosixPath]:
    """Return the group of the process in each version; see cgroups(7)."""
    groups = {}
    for line in (process / "cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            groups[1] = PurePosixPath(path)
        elif number == "0":
            groups[2] = PurePosixPath(path)
    return groups


def _mounts(process: Path) -> Iterator[tuple[int, Path, PurePosixPath]]:
    """Yield version, folder and root group of mounted hierarchies; see proc_pid_mountinfo(5)."""
    for line in (process / "mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        _, _, _, root, folder, *_ = mount.split(" ")
        is_first = kind == "cgroup" and "cpu" in options.split(",")
        if is_first or kind == "cgroup2":
            yield 1 if is_first else 2, Path(_unescape(folder)), PurePosixPath(_unescape(root))


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _folders(group: PurePosixPath | None, mount: Path, root: PurePosixPath) -> list[Path]:
    """Return the folder of a group and of those above it, as far as they are mounted."""
    if group is None:
        return []
    inside = PurePosixPath()  # where the group is not visible, as in some containers
    if group.is_relative_to(root) and ".." not in group.parts:
        inside = group.relative_to(root)
    return [mount / inside, *(mount / above for above in inside.parents)]


def _limit(version: int, folder: Path) -> float | None:
    """Return the limit of one group in cores; None if it has none."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max", or not a group of this controller
        return None
