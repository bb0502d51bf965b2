"""Notes about runtime settings that make a training slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fashioncnn.cli.console import note, plural
from fashioncnn.devices import has_bf16, resolve_device
from fashioncnn.environment import available_cores

if TYPE_CHECKING:
    from fashioncnn.settings import RuntimeConfig


def note_slow_runtime(runtime: RuntimeConfig) -> None:
    """Print which of the resolved settings are slow on this machine, and what is faster."""
    if runtime.precision == "bf16" and not has_bf16(resolve_device(runtime.device)):
        note("bf16: this processor has no instructions for it; fp32 is faster")
    threads, cores = int(runtime.threads), available_cores()
    if runtime.device == "cpu" and threads > cores:
        note(
            f"threads = {threads}: only {plural(cores, 'core')} can be used; --threads {cores} "
            "is faster, and rounds differently"
        )
