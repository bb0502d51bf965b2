"""An implementation in a process of its own, measured in rounds; and the load of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from common import Result, last_line
from implementations import SkippedError

CALIBRATION_STEPS = 10
"""Steps of the first round, from which the length of the next one is estimated."""
TIMEOUT = 300.0
"""Seconds without an answer after which an implementation is killed."""


class MeasuredProcess:
    """A process that follows the protocol of `peers/protocol.py`; idle between rounds."""

    def __init__(self, command: list[str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.steps = CALIBRATION_STEPS
        self.ready = self._read_message()

    def run_round(self, seconds: float) -> Result:
        """Train for about `seconds`, estimated from the previous round; return the measurement.

        Raises:
            SkippedError: the process has ended.
        """
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        started, busy, own = time.perf_counter(), busy_seconds(), self._cpu_seconds()
        try:
            self.process.stdin.write(f"{self.steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise SkippedError(self._failure()) from None
        measurement = self._read_message()
        now = busy_seconds()
        if busy is not None and now is not None:
            others = now - busy - (self._cpu_seconds() - own)
            measurement["other_cores"] = max(0.0, others) / (time.perf_counter() - started)
        self.steps = max(1, round(self.steps * seconds / measurement["seconds"]))
        return measurement

    def finish(self) -> Result:
        """End the rounds and return the last message: peak memory and idle processor time."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.close()
        last = self._read_message()
        self.process.wait(TIMEOUT)
        return last

    def kill(self) -> None:
        """Kill the process if it still runs, and close its files."""
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            if file is not None:
                file.close()

    def _cpu_seconds(self) -> float:
        """Return the processor time of the process and its direct children; 0 without /proc."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # the process has ended meanwhile
                # The name, in parentheses, may contain anything; then follow state, parent, …
                fields = stat.read_text().rpartition(")")[2].split()
                if self.process.pid in (int(stat.parent.name), int(fields[1])):
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _read_message(self) -> Result:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        timer = threading.Timer(TIMEOUT, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise SkippedError(self._failure())
        message: Result = json.loads(line)
        return message

    def _failure(self) -> str:
        status = self.process.wait()
        self.errors.seek(0)
        message = f"exit status {status}: {last_line(self.errors.read())}"
        self.kill()
        return message


def busy_seconds() -> float | None:
    """Return the processor time of the whole machine since it started, all cores together.

    Time that a hypervisor gave to other machines is included. None without /proc.
    """
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
