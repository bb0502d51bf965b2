"""The tables of ``fashioncnn bench``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fashioncnn.reporting.tables import Table

Result = dict[str, Any]
"""A document of `fashioncnn.bench`."""

NAMES = {"onnx": "ONNX Runtime", "torch": "PyTorch"}
"""Of backends."""
LIMIT_NOTE = (
    "Operations are counted as the network is defined; kernels that need fewer of them can come "
    "close to the limit, or exceed it."
)


def training_table(result: Result) -> Table:
    """Return the speed of training."""
    low, high = min(result["rounds"]), max(result["rounds"])
    rate, fraction, n = result["images_per_second"], result["share_of_limit"], result["images"]
    rows = (
        ("Images per second", f"{rate:,.0f}", f"{low:,.0f} – {high:,.0f}"),
        (
            "Fraction of the machine's limit",
            _percent(fraction),
            f"{_percent(fraction * low / rate)} – {_percent(fraction * high / rate)}",
        ),
        (
            f"Seconds per epoch of {n:,} images",
            f"{result['seconds_per_epoch']:.1f}",
            f"{n / high:.1f} – {n / low:.1f}",
        ),
    )
    title = f"Training {result['recipe']}, batch size {result['batch_size']}"
    return Table(title, ("Without evaluation", "Median", "Range"), rows)


def prediction_table(result: Result) -> Table:
    """Return the speed of prediction from arrays and from files."""
    header = ("Backend", "Call", "Images/s", "Range", "Of limit", "ms per call (p95)")
    rows = tuple(
        (NAMES[backend], *row)
        for backend, measured in result["backends"].items()
        for row in _prediction_rows(measured)
    )
    return Table(f"Prediction, {result['model']}", header, rows, "llr")


def _prediction_rows(result: Result) -> Iterator[tuple[str, ...]]:
    single, many = result["batches"]
    files = result["png_files"]
    calls = {
        "1 array": single,
        f"{many['batch_size']:,} arrays": many,
        f"{files['batch_size']} PNG files": files,
    }
    for call, measured in calls.items():
        yield (
            call,
            f"{measured['images_per_second']:,.0f}",
            f"{min(measured['rounds']):,.0f} – {max(measured['rounds']):,.0f}",
            _percent(measured.get("share_of_limit")),
            f"{_milliseconds(measured['latency_ms_median'])} "
            f"({_milliseconds(measured['latency_ms_p95'])})",
        )


def conditions_table(result: Result) -> Table:
    """Return the conditions of a measurement."""
    threads = result["threads"]
    device = result["gpu"] or f"{result['device']}, {threads} thread{'s' * (threads > 1)}"
    kernels = f", {result['kernels']} kernels" if "kernels" in result else ""
    limit = f"{_flops(result['limit_gflops'])} ({result['limit_precision']})"
    rows = (
        ("Processor", result["cpu"]),
        ("Device", f"{device}, {result['precision']}{kernels}"),
        ("Limit: matrix multiplication", limit),
        ("Operations per image", _mflop(result["mflop_per_image"])),
        ("Peak memory", f"{result['peak_memory_bytes'] / 1e6:,.0f} MB"),
    )
    return Table("Conditions", ("Condition", "Value"), rows, "ll", LIMIT_NOTE)


def _mflop(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} MFLOP"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.1f}%"


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _flops(gflops: float) -> str:
    return f"{gflops / 1e3:,.1f} TFLOP/s" if gflops >= 1e4 else f"{gflops:,.0f} GFLOP/s"
