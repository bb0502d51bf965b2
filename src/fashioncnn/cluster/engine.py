"""Ray: find or start a cluster, and run shards on its machines with Ray Data.

Ray reports its usage over the network unless it is switched off, prints what it does, and listens
on all interfaces, also for one process. All of this is off here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fashioncnn.cluster.job import Job, JobFolder
from fashioncnn.cluster.model import ModelBytes
from fashioncnn.cluster.parts import ShardSummary
from fashioncnn.cluster.worker import ShardPredictor
from fashioncnn.environment import available_cores
from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.reading import read_text

AUTO = "auto"
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Variables that Ray reads: no usage statistics, no progress bars, no warning about GPUs."""
OF_CLUSTER = {"RAY_NUM_REDIS_GET_RETRIES": "2"}
"""At an address where something else listens, Ray would try for six minutes, 20 times."""
OF_THIS_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without clusters, which it forbids on Windows and macOS by default, Ray uses 127.0.0.1 only."""
OBJECT_STORE_BYTES = 128 << 20
"""Of a cluster that is started here: model and shard numbers."""
CONNECT_SECONDS = 10
MAX_BLOCKS = 100_000
"""Units that Ray Data schedules, at 7 ms each; with more shards, a unit has several."""
TASKS_AHEAD = 2
"""Units that are sent to an actor at a time."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: ``host:port``; None if it was started by this process.
        machines: number of its machines.
        cores: number of their cores, as Ray counts them.
    """

    address: str | None
    machines: int
    cores: int


def find_cluster(ray: str) -> str | None:
    """Return ``host:port`` of the cluster to use; None to start one on this machine.

    ``auto`` is the cluster in ``RAY_ADDRESS``, else one that ``ray start`` started on this machine.

    Args:
        ray: ``auto`` or an address.

    Raises:
        UsageError: it is not an address.
        FashionCNNError: nothing can be reached there.
    """
    address = ray
    if ray == AUTO:
        address = os.environ.get("RAY_ADDRESS") or _running_cluster() or "local"
    if address == "local":
        return None
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--ray {address}: should be auto or host:port, as ray start prints it")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise FashionCNNError(
            f"--ray {address}: cannot be reached ({error.strerror or error}); start the cluster "
            "with ray start, or check address and network"
        ) from None
    return address


@contextlib.contextmanager
def connect(address: str | None) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this machine until the block ends.

    Args:
        address: see `find_cluster`.

    Raises:
        FashionCNNError: Ray cannot connect or start, or fails in the block.
    """
    os.environ.update({**ENVIRONMENT, **(OF_CLUSTER if address else OF_THIS_MACHINE)})
    warnings.filterwarnings("ignore", module="ray")
    # Ray's folder, in /tmp as Ray's own: paths of its sockets have to be short.
    place = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108
    temporary = None if address else tempfile.mkdtemp(prefix="fashioncnn-ray-", dir=place)
    with _quiet(), contextlib.ExitStack() as stack:
        if temporary:
            stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        import ray

        stack.callback(ray.shutdown)
        _init(address, temporary)
        machines = sum(node["Alive"] for node in ray.nodes())
        cores = int(ray.cluster_resources().get("CPU", 0))
        try:
            yield Cluster(address, machines, cores)
        except ray.exceptions.RayError as error:
            raise FashionCNNError(f"Ray: {_one_line(error)}") from None


def run_shards(
    folder: JobFolder, job: Job, model: ModelBytes, shards: Sequence[int], cores: int, remedy: str
) -> Iterator[ShardSummary]:
    """Predict shards on the connected cluster; yield the summary of each when it is written.

    Each actor has one model and one core. When a machine is lost, Ray Data repeats its shards.

    Args:
        folder: of the job.
        job: the job.
        model: to predict with.
        shards: their numbers, at least one.
        cores: actors that are started at once; more follow when the cluster grows.
        remedy: what a message about an image over the limit says to do.

    Raises:
        FashionCNNError: an actor cannot predict; the message is its.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    blocks = min(len(shards), MAX_BLOCKS)
    rows: list[Any] = [{"shard": shard} for shard in shards]
    results = from_items(rows, override_num_blocks=blocks).map(
        ShardPredictor,
        fn_constructor_args=(str(folder.path), job, partial(ray.get, ray.put(model)), remedy),
        compute=ActorPoolStrategy(
            min_size=1,
            max_size=blocks,
            initial_size=max(1, min(cores, blocks)),
            max_tasks_in_flight_per_actor=TASKS_AHEAD,
        ),
        num_cpus=1,
    )
    for row in results.iter_rows():
        if row["error"]:
            kind = UsageError if row["exit_code"] == UsageError.exit_code else FashionCNNError
            raise kind(row["error"])
        yield ShardSummary(**json.loads(row["summary"]))


def _init(address: str | None, temporary: str | None) -> None:
    """Connect to Ray."""
    import ray

    options: dict[str, Any] = {"address": address or "local"}
    if address is None:
        options.update(num_cpus=available_cores(), object_store_memory=OBJECT_STORE_BYTES)
        options.update(include_dashboard=False, _temp_dir=temporary)
    try:
        with _deferred_signals():
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (OSError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        what = f"--ray {address}: no connection" if address else "--ray auto: Ray cannot be started"
        raise FashionCNNError(f"{what} ({_one_line(error)})") from None


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Handle SIGINT and SIGTERM at the end of the block, which starts processes.

    An exception right after a fork, in a callback that releases a lock, would leave it locked, and
    Ray's own handler of SIGTERM raises one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    import ray._private.utils as ray_utils

    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {n: signal.signal(n, lambda number, _: received.append(number)) for n in numbers}
    set_handler = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = set_handler
        for each, handler in previous.items():
            signal.signal(each, handler)
        for number in received[:1]:
            signal.raise_signal(number)


def _running_cluster() -> str | None:
    """Return the address of the cluster that ``ray start`` started on this machine, if it runs."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    try:
        address = read_text(Path(folder, "ray", "ray_current_cluster"), 1024).strip()
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError):  # none, or an old file
        return None
    return address


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard what Ray prints on stdout, and what its libraries write to the descriptor of stderr.

    Messages of this package go to ``sys.stderr`` as before. Ray's own are in its log files.
    """
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        stack.enter_context(contextlib.redirect_stdout(null))
        with contextlib.suppress(OSError, ValueError):  # not a file, as in tests
            if sys.stderr.fileno() == 2:
                stack.enter_context(_without_descriptor(null.fileno()))
        yield


@contextlib.contextmanager
def _without_descriptor(null: int) -> Iterator[None]:
    """Move ``sys.stderr`` to another descriptor, and point number 2 to `null`."""
    original = sys.stderr
    original.flush()
    with os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as copy:
        os.dup2(null, 2)
        sys.stderr = copy
        try:
            yield
        finally:
            sys.stderr = original
            copy.flush()
            os.dup2(copy.fileno(), 2)


def _one_line(error: BaseException) -> str:
    """Return the last line of a message of Ray, whose lines before are tracebacks."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__
