"""Tensors of PyTorch as arrays, without importing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fashioncnn.errors import UsageError


def is_tensor(value: Any) -> bool:
    """Return whether this is a `torch.Tensor`; files have `detach`, too."""
    return hasattr(value, "detach") and hasattr(value, "cpu")


def from_tensors(value: Any, subject: str) -> Any:
    """Return tensors, also in a list, as arrays; everything else unchanged.

    Args:
        value: of any type.
        subject: what messages call it.

    Raises:
        UsageError: a tensor cannot be converted, such as a sparse one.
    """
    if is_tensor(value):
        return _from_tensor(value, subject)
    if isinstance(value, Sequence) and not isinstance(value, str) and any(map(is_tensor, value)):
        return [from_tensors(one, subject) for one in value]
    return value


def _from_tensor(tensor: Any, subject: str) -> Any:
    try:
        tensor = tensor.detach().cpu()
        # NumPy has no bfloat16.
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (TypeError, RuntimeError, AttributeError) as error:  # sparse, quantized, meta …
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"{subject}: tensor that cannot be converted ({reason}); should be dense"
        ) from None
