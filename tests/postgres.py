"""A temporary PostgreSQL server from the binaries of Debian's package, for tests and benchmarks."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

USER, PASSWORD = "tuner", "s3cret-Word/@#{}"
START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A running server on this machine.

    Attributes:
        port: on 127.0.0.1.
        process: of the server.
        folder: of its files.
        tools: folder of the programs.
    """

    port: int
    process: subprocess.Popen
    folder: Path
    tools: Path

    def url(self, database: str) -> str:
        """The address of a database, without the password, which is in `PASSWORD`."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run an SQL statement and return the rows."""
        import psycopg

        address = self.url(database)
        with psycopg.connect(address, password=PASSWORD, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def tools_folder():
    """The folder with initdb and postgres; None if they are not installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve().parent] if on_path else []
    return found[-1] if found else None


def missing():
    """Why a server cannot be started and used; empty if it can."""
    if find_spec("psycopg") is None:
        return "needs the extra [postgres]"
    if tools_folder() is None:
        return "needs PostgreSQL: make postgres"
    return "" if _account() else "needs a user that is not root: postgres"


@contextlib.contextmanager
def running_server():
    """Start a server with its own files, and stop it at the end."""
    tools, account = tools_folder(), _account()
    folder = Path(tempfile.mkdtemp(prefix="fashioncnn-postgres-"))
    os.chown(folder, account["user"], account["group"])
    process = None
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        os.chown(password, account["user"], account["group"])
        initialize = [tools / "initdb", "-D", folder / "data", "-U", USER, "-A", "scram-sha-256"]
        initialize += ["--pwfile", password, "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run(initialize, check=True, capture_output=True, cwd="/", **account)
        port = _free_port()
        settings = [f"port={port}", f"unix_socket_directories={folder}", "fsync=off"]
        settings += ["listen_addresses=127.0.0.1"]
        command = [tools / "postgres", "-D", folder / "data"]
        command += [argument for setting in settings for argument in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **account)
        _wait(tools, folder, port, process)
        yield Server(port, process, folder, tools)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _account():
    """The user of the server: PostgreSQL does not run as root."""
    if os.getuid() != 0:
        return {"user": os.getuid(), "group": os.getgid()}
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam("postgres")
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return None


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(tools, folder, port, process):
    ready = [tools / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(ready, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
        time.sleep(0.05)
