"""``fashioncnn serve`` as a process."""

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

from .conftest import TIMEOUT


class ServerProcess:
    """A process, its URL and its output."""

    def __init__(self, arguments, log):
        command = [sys.executable, "-m", "fashioncnn", "serve", "--port", "0", *arguments]
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        match = re.search(r"http://\S+:\d+", line)
        assert match, line + self.process.stderr.read()
        self.url = match[0]

    def wait_until_ready(self):
        limit = time.monotonic() + TIMEOUT
        while httpx.get(f"{self.url}/readyz", timeout=TIMEOUT).status_code != 200:
            assert time.monotonic() < limit
            time.sleep(0.05)

    def end(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def events(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def serving(tmp_path, *arguments):
    server = ServerProcess(arguments, tmp_path / "log.jsonl")
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stderr.close()


def status_of(process: int) -> list[str]:
    """State, parent and further fields of /proc/PID/stat; empty for no process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_running(process: int) -> bool:
    status = status_of(process)
    return bool(status) and status[0] != "Z"


def children(process: int) -> list[int]:
    """The processes that a process has started, and those that these have started."""
    every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    direct = [each for each in every if status_of(each)[1:2] == [str(process)]]
    return direct + [inner for each in direct for inner in children(each)]
