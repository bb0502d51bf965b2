"""Threads that train on shards of one batch, by functions of ``shards.c``."""

from __future__ import annotations

import ctypes
import weakref
from typing import NamedTuple

from fashioncnn.kernels.library import Kernels

MAX_CHANNELS = 4096
"""Channels of a batch normalization layer, as in the settings."""


class ShardGroup:
    """The meeting point of threads that compute the statistics of a batch together.

    Attributes:
        shards: number of threads.
    """

    def __init__(self, kernels: Kernels, shards: int) -> None:
        self.shards = shards
        self._kernels = kernels
        handle = kernels.shard_group_create(shards, 2 * MAX_CHANNELS + 1)
        if not handle:
            raise RuntimeError("out of memory: no scratch memory for threads")
        self.handle = ctypes.c_void_p(handle)
        weakref.finalize(self, kernels.shard_group_free, self.handle)

    def abort(self) -> None:
        """End the waiting of all threads, whose functions then raise `AbortedError`."""
        self._kernels.shard_group_abort(self.handle)


class Shard(NamedTuple):
    """One thread's place in a group."""

    group: ShardGroup
    index: int


class AbortedError(RuntimeError):
    """Another thread of the group has failed."""
