"""Hooks on the layers of a network that other threads may be computing with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

ForwardHook = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]
"""Called with a layer, its inputs and its output; may return another output."""


@contextlib.contextmanager
def forward_hooks(layers: Iterable[nn.Module], hook: ForwardHook) -> Iterator[None]:
    """Call `hook` after each of the layers in the block, in this thread only."""
    thread = threading.get_ident()

    def call(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return hook(layer, inputs, output) if threading.get_ident() == thread else None

    handles = [layer.register_forward_hook(call) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
