"""Commands that `torchrun` starts in several processes: one writes and prints, the others help."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn._version import __version__
from fashioncnn.errors import FashionCNNError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.settings import Settings
    from fashioncnn.training.ranks import Ranks

STORE_SECONDS = 10
"""How long the store of `torchrun` may take to answer."""


def are_several() -> bool:
    """Return whether `torchrun` has started several processes, of which this is one."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    values = [os.environ.get(name, "") for name in names]
    return all(values) and values[1].isdecimal() and int(values[1]) > 1


def is_first() -> bool:
    """Return whether this is the only process, or the first of several."""
    return not are_several() or os.environ["RANK"] == "0"


def local_processes() -> int:
    """Return the number of processes that share the cores of this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if are_several() else 1


@contextlib.contextmanager
def silent_unless_first() -> Iterator[None]:
    """Discard what processes other than the first print during a block."""
    if is_first():
        yield
        return
    with (
        contextlib.redirect_stdout(Discarded()),
        contextlib.redirect_stderr(Discarded()),
    ):
        yield


class Discarded(io.TextIOBase):
    """A stream that discards what is written."""

    def write(self, text: str) -> int:
        """Discard `text`."""
        return len(text)


def require_one_process(arguments: Sequence[str]) -> None:
    """Reject commands other than ``train`` in several processes.

    Raises:
        UsageError: there are several processes.
    """
    command = next((a for a in arguments if not a.startswith("-")), "")
    if are_several() and command not in ("train", ""):
        raise UsageError(
            f"fashioncnn {command}: only train can use several processes; start it without torchrun"
        )


def report_failure(report: Callable[[], None], exit_code: int, *, elsewhere: bool = False) -> None:
    """Report why the command fails, in one of its processes only.

    When one process fails, the others lose their connection to it and fail, too. The first one
    reports; the others wait until it has, since `torchrun` ends all when one has ended.

    Args:
        report: prints a message.
        exit_code: of this process.
        elsewhere: whether another process reports.
    """
    if not are_several():
        report()
    elif not elsewhere and is_first_to_fail():
        report()
        _tell_others()
    elif exit_code:
        _wait_for_report()


def is_first_to_fail() -> bool:
    """Return whether no other process of the command has failed before this one."""
    return not are_several() or _claim_failure()


@functools.cache
def _claim_failure() -> bool:
    for number in (signal.SIGINT, signal.SIGTERM):  # by which `torchrun` ends the others
        with contextlib.suppress(ValueError):  # in another thread
            signal.signal(number, signal.SIG_IGN)
    try:
        return bool(_store().add(_key("failed"), 1) == 1)
    except (RuntimeError, ValueError):  # its machine is lost
        return True


def _tell_others() -> None:
    with contextlib.suppress(RuntimeError, ValueError):
        _store().set(_key("reported"), "")


def _wait_for_report() -> None:
    from datetime import timedelta

    with contextlib.suppress(RuntimeError, ValueError):
        _store().wait([_key("reported")], timedelta(seconds=STORE_SECONDS))


@functools.cache
def _store() -> Any:
    """Return the store of `torchrun`, which outlives each process."""
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, timeout=timedelta(seconds=STORE_SECONDS))


def _key(name: str) -> str:
    return f"fashioncnn/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{name}"


@contextlib.contextmanager
def connected() -> Iterator[Ranks]:
    """Connect to the other processes, if there are any, for the time of a block."""
    from fashioncnn.environment import require_modules
    from fashioncnn.training import ranks as exchange

    if not are_several():
        yield exchange.ALONE
        return
    require_modules("train")
    # Each process would warn that it looked for unused parameters in vain.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with exchange.connected() as several:
        try:
            yield several
        except exchange.ReportedError:
            raise
        except Exception:
            is_first_to_fail()  # before the others lose the connection, and fail
            raise


def place(settings: Settings, ranks: Ranks) -> Settings:
    """Return the settings of this process, which has a GPU of its own.

    Raises:
        UsageError: the device cannot be used by several processes, or there are too few GPUs.
    """
    if not ranks.are_several:
        return settings
    import torch

    from fashioncnn.config import override
    from fashioncnn.devices import resolve_device

    name = settings.runtime.device
    if name.startswith("cuda:"):
        raise UsageError(
            f"device = {name}: torchrun gives each process its own GPU; use --device cuda"
        )
    device = resolve_device(name)
    if device.type == "mps":
        raise UsageError(
            f"device = {name}: several processes need CPUs or CUDA GPUs; use --device cpu"
        )
    if device.type == "cpu":
        return override(settings, {"runtime.device": "cpu"})
    count = torch.cuda.device_count()
    if ranks.local_world_size > count:
        raise UsageError(
            f"device = {name}: {ranks.local_world_size} processes on a machine with {count} GPUs; "
            "start one per GPU, or use --device cpu"
        )
    torch.cuda.set_device(ranks.local_rank)
    return override(settings, {"runtime.device": f"cuda:{ranks.local_rank}"})


class Plan:
    """What the first process sends to the others once, when it starts to train.

    Raises in the others:
        ReportedError: the first process ends without training.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.is_sent = False

    def send(self, **plan: Any) -> None:
        """Let the others start to train; `plan` is of JSON types."""
        self._send(plan)

    def receive(self) -> dict[str, Any]:
        """Return what the first process sent."""
        plan: dict[str, Any] = json.loads(self.ranks.broadcast(b""))
        if "exit_code" in plan:
            from fashioncnn.training.ranks import ReportedError

            raise ReportedError(plan["exit_code"])
        return plan

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Let the others end with this process if it has not started to train."""
        if self.is_sent or not self.ranks.is_first:
            return
        if isinstance(error, FashionCNNError):
            is_first_to_fail()
        if error is None or isinstance(error, FashionCNNError):
            self._send({"exit_code": 0 if error is None else error.exit_code})

    def _send(self, plan: Mapping[str, Any]) -> None:
        self.is_sent = True
        self.ranks.broadcast(json.dumps(plan).encode())


def require_no_group(subject: str, ranks: Ranks) -> None:
    """Reject a group of runs in several processes.

    Raises:
        UsageError: in the first process; a `ReportedError` in the others.
    """
    if not ranks.is_first:
        from fashioncnn.training.ranks import ReportedError

        raise ReportedError(UsageError.exit_code)
    raise UsageError(
        f"{subject}: several processes train one run; start one run per seed, or without torchrun"
    )


def describe(settings: Settings, dataset: Dataset, initial: str | None = None) -> dict[str, Any]:
    """Return what has to be equal in all processes: settings, data, weights and versions.

    Paths, numbers of devices and threads may differ.

    Args:
        settings: resolved.
        dataset: to train on.
        initial: SHA-256 of the model to start from.
    """
    from importlib.metadata import version

    from fashioncnn.models.trained_model import load_model

    values = settings.model_dump(mode="json", exclude={"description"})
    for section, name in (("data", "source"), ("data", "rehearsal_source"), ("runtime", "threads")):
        del values[section][name]
    values["runtime"]["device"] = settings.runtime.device.partition(":")[0]
    teachers = settings.distillation.teachers
    values["distillation"]["teachers"] = [load_model(Path(name)).sha256 for name in teachers]
    values["data"]["sha256"] = dataset.training_sha256
    packages = {"fashioncnn": __version__, "torch": version("torch")}
    return {**values, "initial": initial, "packages": packages}
