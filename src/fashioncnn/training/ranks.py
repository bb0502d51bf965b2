"""The processes that train one network together, and what they exchange.

`torchrun` starts them; messages go through `torch.distributed`. They are JSON documents, bytes and
tensors, so that nothing is unpickled. Torch is imported when there is something to exchange.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from fashioncnn.errors import FashionCNNError, RankError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for a message. That another process has ended is noticed at once, unless
its machine has lost power or network."""
SIGNS_OF_LOSS = ("gloo", "NCCL", "Connection", "Socket", "recvValue")
"""In errors of torch that mean that another process has ended."""


class ReportedError(FashionCNNError):
    """An error that another process of the same training reports.

    Args:
        exit_code: of this process.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("reported by another process")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Ranks:
    """One of the processes that train a network together; by default the only one.

    Only the first one, of rank 0, writes files.

    Attributes:
        rank: of this process, from 0.
        world_size: number of processes.
        local_rank: of this process among those on its machine.
        local_world_size: number of processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there are other processes."""
        return self.world_size > 1

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of `values` over all processes; `values` may be changed.

        Raises:
            RankError: another process has ended.
        """
        if self.are_several:
            from torch.distributed import all_reduce

            with lost_ranks():
                all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true in one of the processes; each of them has to call this."""
        if not self.are_several:
            return flag
        import torch

        return bool(self.sum(torch.tensor(int(flag))))

    def gather(self, document: Any) -> list[Any]:
        """Return a JSON document of each process, by rank, to all of them."""
        if not self.are_several:
            return [document]
        import torch

        content = to_bytes_tensor(json.dumps(document).encode())
        sizes = torch.zeros(self.world_size, dtype=torch.int64)
        sizes[self.rank] = len(content)
        sizes = self.sum(sizes)
        padded = torch.zeros(int(sizes.max()), dtype=torch.uint8)
        padded[: len(content)] = content
        received = [torch.empty_like(padded) for _ in range(self.world_size)]
        with lost_ranks():
            torch.distributed.all_gather(received, padded)
        return [
            json.loads(bytes(one[:size].numpy()))
            for one, size in zip(received, sizes.tolist(), strict=True)
        ]

    def broadcast(self, content: bytes) -> bytes:
        """Return the `content` of the first process to all of them; that of others is ignored."""
        if not self.are_several:
            return content
        import torch

        size = self.sum(torch.tensor(len(content) if self.is_first else 0))
        message = torch.empty(int(size), dtype=torch.uint8)
        if self.is_first:
            message = to_bytes_tensor(content)
        with lost_ranks():
            torch.distributed.broadcast(message, src=0)
        return bytes(message.numpy())

    def agree(self, prepare: Callable[[], T], describe: Callable[[T], Mapping[str, Any]]) -> T:
        """Return what `prepare` returns, once it has succeeded in all processes with equal results.

        Args:
            prepare: called once in each process.
            describe: returns what has to be equal, as a JSON document.

        Raises:
            FashionCNNError: the error of the first process in which `prepare` failed. In processes
                other than the first, it is a `ReportedError`.
            UsageError: the results are not equal.
        """
        if not self.are_several:
            return prepare()
        error, result = None, None
        report: dict[str, Any] = {"host": socket.gethostname()}
        try:
            result = prepare()
            report["description"] = dict(describe(result))
        except FashionCNNError as raised:
            error = raised
            report |= {"error": str(error), "exit_code": error.exit_code}
        first_error = _first_error(self.gather(report), error)
        if first_error is None:
            return result  # type: ignore[return-value]
        if self.is_first:
            raise first_error from None
        raise ReportedError(first_error.exit_code)


def to_bytes_tensor(content: bytes) -> Tensor:
    """Return bytes as a tensor, (n,) uint8."""
    import numpy as np
    import torch

    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


ALONE = Ranks()
"""A process that trains without others."""


def _first_error(
    reports: list[dict[str, Any]], own: FashionCNNError | None
) -> FashionCNNError | None:
    """Return the error to report for what each process reported; None if all agree."""
    failed = [(rank, report) for rank, report in enumerate(reports) if "error" in report]
    if failed:
        rank, report = failed[0]
        if rank == 0 and own is not None:
            return own
        error = FashionCNNError(f"rank {rank} on {report['host']}: {report['error']}")
        error.exit_code = report["exit_code"]
        return error
    expected = reports[0]["description"]
    for rank, report in enumerate(reports):
        changes = differences(expected, report["description"])
        if changes:
            return UsageError(
                f"rank {rank} on {report['host']} differs from rank 0: {'; '.join(changes)}; give "
                "all processes the same data, options, files and environment variables"
            )
    return None


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return each key of nested documents whose value differs, with both values."""
    changes = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changes.append(f"{prefix}{key} from {old!r} to {new!r}")
    return changes


@contextlib.contextmanager
def lost_ranks() -> Iterator[None]:
    """Turn torch's errors about a process that has ended into a `RankError`."""
    try:
        yield
    except RuntimeError as error:
        from torch import distributed as dist

        is_loss = isinstance(error, dist.DistError) or any(s in str(error) for s in SIGNS_OF_LOSS)
        if not is_loss:
            raise
        raise RankError("another process of this training has ended") from None


@contextlib.contextmanager
def connected() -> Iterator[Ranks]:
    """Connect to the other processes that `torchrun` has started, for the time of a block.

    Raises:
        RankError: they cannot be reached.
    """
    import torch
    from torch import distributed as dist

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = str(error).splitlines()[0]
        raise RankError(f"rank {rank} cannot reach the others at {address} ({reason})") from None
    try:
        yield Ranks(
            rank,
            world_size,
            int(os.environ.get("LOCAL_RANK", "0")),
            int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
        with contextlib.suppress(RuntimeError):  # one has failed, and reports it
            dist.barrier()  # one that ends early closes connections that others still read
    finally:
        gc.collect()  # a DDP model uses the process group as long as it exists
        dist.destroy_process_group()  # otherwise, its threads abort the process at its end
