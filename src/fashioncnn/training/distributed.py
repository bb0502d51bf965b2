"""The state that several processes share which train one network together.

Each process has the whole state. The first one alone reads and writes files, evaluates, and decides
when the training ends; the others get what they need from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from safetensors.torch import load
from torch import Tensor, nn

from fashioncnn.errors import FashionCNNError
from fashioncnn.models.trained_model import serialize
from fashioncnn.training.callbacks import Callback, StopReason
from fashioncnn.training.ranks import Ranks, ReportedError
from fashioncnn.training.resume import Checkpoints
from fashioncnn.training.state import Record, TrainState


def share_state(state: TrainState, checkpoints: Checkpoints) -> TrainState:
    """Return the state of the first process in all of them.

    Args:
        state: of this process, with the same network and optimizer.
        checkpoints: of this process.

    Raises:
        RankError: another process has ended.
    """
    ranks = state.ranks
    if not ranks.are_several:
        return state
    tensors, content = b"", b""
    if ranks.is_first:
        values, document = checkpoints.content(state)
        tensors = serialize(on_cpu(values))
        content = json.dumps(document).encode()
    tensors, content = ranks.broadcast(tensors), ranks.broadcast(content)
    return state if ranks.is_first else checkpoints.apply(state, load(tensors), json.loads(content))


def share_weights(network: nn.Module, ranks: Ranks) -> None:
    """Load the weights and buffers of the first process into the network of the others."""
    if not ranks.are_several:
        return
    tensors = serialize(on_cpu(network.state_dict())) if ranks.is_first else b""
    tensors = ranks.broadcast(tensors)
    if not ranks.is_first:
        network.load_state_dict(load(tensors))


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in CPU memory."""
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


class EndTogether(Callback):
    """Ends the training in all processes when the first one has a reason to."""

    def on_start(self, state: TrainState, images: int) -> None:  # noqa: ARG002
        """See `on_epoch`."""
        self._share_reason(state)

    def on_epoch(self, state: TrainState, record: Record) -> None:  # noqa: ARG002
        """Get the reason of the first process."""
        self._share_reason(state)

    def _share_reason(self, state: TrainState) -> None:
        state.stop_reason = state.ranks.broadcast(state.stop_reason.encode()).decode()


@dataclass
class StopTogether:
    """Whether one of the processes was requested to stop; called by each of them in every step.

    Attributes:
        ranks: this process among the others.
        stop: the request to this process; see `fashioncnn.training.callbacks.StopOnRequest`.
        default: the error of the first process if only another one was requested to stop.
    """

    ranks: Ranks
    stop: StopReason
    default: FashionCNNError

    def __call__(self) -> FashionCNNError | None:
        """Return the error to stop with; a `ReportedError` in processes other than the first."""
        own = self.stop()
        if not self.ranks.any(own is not None):
            return None
        error = own or self.default
        return error if self.ranks.is_first else ReportedError(error.exit_code)
