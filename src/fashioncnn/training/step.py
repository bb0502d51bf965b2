"""One optimization step, directly or as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fashioncnn.devices import autocast
from fashioncnn.models.backend import normalize
from fashioncnn.models.layers import ConvolutionalNetwork
from fashioncnn.training.batches import Batch
from fashioncnn.training.ranks import lost_ranks
from fashioncnn.training.state import TrainState

Step = Callable[[Batch], tuple[Tensor, Tensor]]
"""Trains on a batch; returns its mean loss and the number of correct predictions, on the device."""
WARMUP_STEPS = 3
"""Steps before the capture of a CUDA graph, which create the state of optimizer and libraries."""


def make_step(state: TrainState) -> Step:
    """Return the fastest step for the device of `state`.

    On CUDA the step is captured as a graph, since launching its hundreds of small kernels takes
    longer than running them. Dropout needs another seed in each step, which a graph would repeat;
    so do random numbers in a custom network, whose code may also depend on values. So far, a step
    over several processes runs directly, too.
    """
    if state.ranks.are_several:
        return DistributedStep(state)
    has_dropout = any(isinstance(m, nn.Dropout) and m.p > 0 for m in state.network.modules())
    is_own = isinstance(state.network, ConvolutionalNetwork)
    if state.device.type == "cuda" and is_own and not has_dropout:
        return GraphedStep(state)
    return lambda batch: train_step(state, batch)


def train_step(state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
    """Update the weights; return the mean loss, () float, and the correct predictions, () int64."""
    logits = training_logits(state, state.network, batch)
    loss = state.loss(logits, batch)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    return loss.detach(), batch.count_correct(logits)


def training_logits(state: TrainState, network: nn.Module, batch: Batch) -> Tensor:
    """Return logits in training, (b, classes) float32, or float64 where `network` computes so."""
    with autocast(state.device, state.precision):
        logits: Tensor = network(normalize(batch.images, state.spec.preprocessing))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class DistributedStep:
    """`train_step` over several processes, which train on different images of each batch.

    Gradients are averaged during the backward pass by `DistributedDataParallel` (Li et al.,
    arXiv:2006.15704). It averages over processes; weights make this the gradient of the mean loss
    of all images, however many each process has.
    """

    def __init__(self, state: TrainState) -> None:
        self.state = state
        is_own = isinstance(state.network, ConvolutionalNetwork)
        # Looking for unused parameters, DDP keeps the buckets of the first step: their gradients
        # are summed in the same order after a resumption.
        self.network = DistributedDataParallel(
            state.network, find_unused_parameters=True, gradient_as_bucket_view=True
        )
        # Buffers of our networks have no effect in training, and those of the first process are
        # saved; a custom network may read its own. PyTorch 2.13 renamed the argument for it.
        self.network.broadcast_buffers = not is_own

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `train_step`; the results are those of all processes."""
        state = self.state
        with lost_ranks():
            logits = training_logits(state, self.network, batch)
            loss = state.loss(logits, batch)
            weight = state.loss.weight(batch).double() * (not batch.is_padding)
            correct = batch.count_correct(logits) * (not batch.is_padding)
            own = torch.stack([loss.detach() * weight, weight, correct.double()])
            loss_sum, weight_sum, correct_sum = state.ranks.sum(own)
            factor = state.ranks.world_size * weight / weight_sum
            state.optimizer.zero_grad()
            (loss * factor.to(loss.dtype)).backward()
        state.optimizer.step()
        return loss_sum / weight_sum, correct_sum


class GraphedStep:  # pragma: no cover - needs a GPU; tests/gpu has its tests
    """`train_step` as a CUDA graph (see "CUDA Graphs" in PyTorch's notes on CUDA semantics).

    The first steps, and batches of another size than the first, run directly. Learning rates become
    tensors on the device, so that the graph reads their present values.
    """

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.steps = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch: Batch | None = None
        self.outputs: tuple[Tensor, Tensor] | None = None
        for group in state.optimizer.param_groups:
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=state.device)

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `train_step`."""
        self.steps += 1
        if self.steps <= WARMUP_STEPS:
            return self._run_on_side_stream(batch)
        if self.graph is None:
            self._capture(batch)
        if self.batch is None or len(batch) != len(self.batch):
            return train_step(self.state, batch)
        for static, current in zip(self.batch.tensors(), batch.tensors(), strict=True):
            static.copy_(current)
        assert self.graph is not None and self.outputs is not None  # noqa: S101
        self.graph.replay()
        loss, correct = self.outputs
        return loss.clone(), correct.clone()

    def _run_on_side_stream(self, batch: Batch) -> tuple[Tensor, Tensor]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = train_step(self.state, batch)
        torch.cuda.current_stream().wait_stream(stream)
        return outputs

    def _capture(self, batch: Batch) -> None:
        self.batch = batch.map(Tensor.clone)
        self.graph = torch.cuda.CUDAGraph()
        self.state.optimizer.zero_grad()
        with torch.cuda.graph(self.graph):
            self.outputs = train_step(self.state, self.batch)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of each group, times its ``scale``; tensors are changed in place."""
    for group in optimizer.param_groups:
        value = learning_rate * group.get("scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value
