"""The results of `benchmarks/serving.py` as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common import Result
from tables import markdown_table

Row = list[str]


def serving_tables(results: Result) -> str:
    """Return the tables of docs/guide/deploy.md, for the parts that were measured."""
    tables = [
        markdown_table(*_throughput(results["throughput"])) if "throughput" in results else "",
        markdown_table(
            ["measurement", "result"],
            [row for name, rows in ROWS.items() if name in results for row in rows(results[name])],
            left=(0, 1),
        ),
    ]
    return "\n\n".join(table for table in tables if table)


def _throughput(result: Result) -> tuple[Row, list[Row]]:
    columns = ("images/s", "p50, p99", "processor time per image")
    titles = ["images", "clients", *columns, *(f"plain: {column}" for column in columns)]
    rows = [
        [kind, clients, *_cells(ours), *_cells(result[kind]["plain handler"][clients])]
        for kind in ("PNG, 28×28", "JPEG, 1 megapixel")
        for clients, ours in result[kind]["fashioncnn serve"].items()
    ]
    return titles, rows


def _cells(measured: Mapping[str, Any]) -> Row:
    if not measured["per_second"]:
        return ["0", "–", "–"]
    return [
        f"{measured['per_second']:.1f}",
        f"{measured['p50_ms']:,.0f}, {measured['p99_ms']:,.0f} ms",
        f"{measured['processor_ms']:.1f} ms",
    ]


def _overload(result: Result) -> list[Row]:
    return [
        [
            f"three times the capacity, {result['sent_per_second']:.0f} requests/s for "
            f"{result['seconds']:.0f} s",
            f"{_statuses(result)}; usual latency after {result['recovery_seconds']:.1f} s",
        ]
    ]


def _uploads(result: Result) -> list[Row]:
    return [
        [
            f"{result['uploads']:,} uploads, half of them damaged",
            f"{_statuses(result)}; memory {result['memory_bytes'] / 2**20:.0f} MiB "
            f"{result['memory_growth_bytes'] / 2**20:+.0f} MiB",
        ]
    ]


def _signals(result: Result) -> list[Row]:
    return [
        [
            f"{result['signals']} SIGTERMs under load",
            f"{result.get('lost', 0)} accepted requests lost of {result['answers 200']:,}; end "
            f"within {result['slowest_end_seconds']:.1f} s",
        ]
    ]


def _slow_clients(result: Result) -> list[Row]:
    alone, slow = result["alone"], result["with_slow_clients"]
    statuses = slow["statuses"]
    served = statuses.get("200", 0) / sum(statuses.values())
    return [
        [
            "500 clients at 1 byte/s, 16 others",
            f"{served:.1%} of the others served, {slow['per_second']:.0f}/s "
            f"(alone {alone['per_second']:.0f}/s)",
        ]
    ]


def _statuses(result: Result) -> str:
    return ", ".join(f"{n:,} × {status}" for status, n in result["statuses"].items())


ROWS: dict[str, Callable[[Result], list[Row]]] = {
    "overload": _overload,
    "uploads": _uploads,
    "signals": _signals,
    "slow_clients": _slow_clients,
}
