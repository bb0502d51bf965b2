"""Settings of hardware and numerics."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from fashioncnn.settings.section import Section

DEVICE_NAME = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
DEVICE_NAMES = "auto, cpu, mps, cuda or, for one GPU of several, cuda:1"
MAX_THREADS = 1024
KernelsName = Literal["native", "mixed", "torch"]
"""CPU kernels that a network computes with; see `RuntimeConfig.kernels`."""


class RuntimeConfig(Section):
    """Hardware and numerics."""

    device: str = "auto"
    """``auto``, ``cpu``, ``mps``, ``cuda``, or one GPU of several as ``cuda:1``."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Numeric precision; ``auto`` is bf16 where the processor has instructions for it and, on the
    CPU, a measurement on the network does not find fp32 faster."""
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)] | Literal["auto"] = "auto"
    """CPU threads; ``auto`` is ``OMP_NUM_THREADS``, else one per core available to the process."""
    kernels: Literal["auto", "native", "mixed", "torch"] = "auto"
    """CPU kernels: compiled for this processor at first use (``native``), the same with PyTorch's
    convolutions in bf16 (``mixed``), or PyTorch's. ``auto`` is the first where it can be compiled;
    in bf16 ``mixed`` if a measurement on the network finds it faster."""

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        if not DEVICE_NAME.fullmatch(device):
            raise ValueError(f"should be {DEVICE_NAMES}")
        return device
