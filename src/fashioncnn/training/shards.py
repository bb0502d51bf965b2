"""A training step whose batch is divided among threads.

PyTorch divides each operation among its threads. They meet a few hundred times per step and wait by
spinning, so that a step is as slow as the slowest thread of every operation: with one other busy
program on two cores, two threads were slower than one (docs/guide/performance.md). Here each thread
computes the whole step for its shard of the batch, with operations of a single thread. The threads
meet only where the result needs the whole batch, in batch normalization and for the sum of the
gradients, and sleep while they wait.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor, nn

from fashioncnn.devices import autocast
from fashioncnn.kernels.shards import AbortedError, Shard, ShardGroup
from fashioncnn.models import compiled_kernels
from fashioncnn.models.backend import normalize
from fashioncnn.models.layers import BatchNorm, Convolution, ConvPoolReLU, Dropout, FlattenLinear
from fashioncnn.training.batches import Batch
from fashioncnn.training.state import TrainState

SUPPORTED = (BatchNorm, Convolution, ConvPoolReLU, Dropout, FlattenLinear, nn.Linear)
"""Layers that compute shards of a batch as they compute the whole."""
MIN_SHARD = 2
"""Images; a smaller batch is not divided."""
MAX_SEED = 2**62


def supports_shards(network: nn.Module) -> bool:
    """Return whether a network can be trained on shards of a batch."""
    kernels = compiled_kernels(network)
    layers = [m for m in network.modules() if not list(m.children()) and list(m.parameters())]
    layers += [m for m in network.modules() if isinstance(m, nn.Dropout)]
    norms = [m for m in layers if isinstance(m, BatchNorm)]
    return all(isinstance(layer, SUPPORTED) for layer in layers) and all(
        kernels is not None and norm.num_features % kernels.vector_width == 0 for norm in norms
    )


class ShardedStep:
    """`fashioncnn.training.step.train_step` by several threads.

    Attributes:
        state: whose network is trained.
        threads: including the caller's.
    """

    def __init__(self, state: TrainState, threads: int) -> None:
        self.state = state
        self.threads = threads
        self._generators = [torch.Generator() for _ in range(threads)]
        self._kernels = compiled_kernels(state.network)
        self._replicas = [_replicate(state.network, index == 0) for index in range(threads)]
        for replica, generator in zip(self._replicas, self._generators, strict=True):
            for layer in replica.modules():
                if isinstance(layer, Dropout):
                    layer.generator = generator
        self._group = self._create_group()
        self._pool = ThreadPoolExecutor(
            threads - 1, initializer=torch.set_num_threads, initargs=(1,)
        )

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `train_step`; the batch has at least `MIN_SHARD` images per thread."""
        torch.set_num_threads(1)
        try:
            losses, correct = self._compute_gradients(batch)
        finally:
            torch.set_num_threads(self.threads)
        gradients = [[p.grad for p in replica.parameters()] for replica in self._replicas]
        for others in gradients[1:]:
            torch._foreach_add_(gradients[0], others)
        for parameter, gradient in zip(self.state.network.parameters(), gradients[0], strict=True):
            parameter.grad = gradient
        self.state.optimizer.step()
        return torch.stack(losses).sum(), torch.stack(correct).sum()

    def _create_group(self) -> ShardGroup | None:
        """Connect the batch normalization layers of the replicas."""
        if self._kernels is None:
            return None
        group = ShardGroup(self._kernels, self.threads)
        for index, replica in enumerate(self._replicas):
            for layer in replica.modules():
                if isinstance(layer, BatchNorm):
                    layer.shard = Shard(group, index)
        return group

    def _compute_gradients(self, batch: Batch) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Compute each shard's gradients; return its part of the mean loss and its correct ones."""
        seeds = torch.randint(MAX_SEED, (self.threads,)).tolist()
        for generator, seed in zip(self._generators, seeds, strict=True):
            generator.manual_seed(seed)
        weight = self.state.loss.total_weight(batch)
        shards = _divide(batch, self.threads)
        futures = [
            self._pool.submit(self._compute_shard, index, shards[index], weight)
            for index in range(1, self.threads)
        ]
        try:
            results = [self._compute_shard(0, shards[0], weight)]
            results += [future.result() for future in futures]
        except BaseException as error:
            raise self._first_cause(error, futures) from None
        losses, correct = zip(*results, strict=True)
        return losses, correct

    def _compute_shard(
        self, index: int, shard: Batch, weight: Tensor | int
    ) -> tuple[Tensor, Tensor]:
        state, network = self.state, self._replicas[index]
        try:
            with autocast(state.device, state.precision):
                logits = network(normalize(shard.images, state.spec.preprocessing)).float()
            loss = state.loss.sum(logits, shard) / weight
            for parameter in network.parameters():
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
        except BaseException:
            if self._group is not None:
                self._group.abort()  # the others wait for this shard
            raise
        return loss.detach(), (logits.argmax(1) == shard.labels).sum()

    def _first_cause(
        self, error: BaseException, futures: Sequence[Future[tuple[Tensor, Tensor]]]
    ) -> BaseException:
        """Wait until all threads have stopped; return the error that stopped the others."""
        errors = [error, *(future.exception() for future in futures)]
        self._group = self._create_group()
        causes = [e for e in errors if e is not None and not isinstance(e, AbortedError)]
        return causes[0] if causes else error


def _divide(batch: Batch, shards: int) -> list[Batch]:
    """Return consecutive ranges of a batch, whose sizes differ by at most 1."""
    bounds = [len(batch) * index // shards for index in range(shards + 1)]
    return [batch.rows(slice(*ends)) for ends in pairwise(bounds)]


def _replicate(network: nn.Module, share_buffers: bool) -> nn.Module:
    """Return a copy that shares the memory of the parameters but has its own gradients."""
    replica = copy.deepcopy(network)
    pairs = list(zip(replica.parameters(), network.parameters(), strict=True))
    if share_buffers:
        pairs += zip(replica.buffers(), network.buffers(), strict=True)
    for own, shared in pairs:
        own.data = shared.data
        own.grad = None
    return replica
