"""Fit what the description of FashionCNN leaves open to the figures it publishes.

    python benchmarks/fit_baseline.py --out DIR [--only NAME …] [--seeds 0 1 2 3 4]

Kernel size, padding, hidden width and input scaling are not told. Each candidate is trained as
`baseline` otherwise, and compared by the sum of |z| over the five published figures, where z is
in units of the spread between seeds (`SPREAD`). **This looks at test figures**: it is a
reproduction of published test figures, and nothing else in this project may be chosen this way.

Each finished run leaves ``DIR/<candidate>-seed<n>.json``, and is not run again. Run it with
``--table`` for the table over all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

CANDIDATES = {
    "k3-p1-h128": [],
    "k3-p0-h128": ["model.padding=0"],
    "k5-p2-h128": ["model.kernel_size=5", "model.padding=2"],
    "k3-p1-h256": ["model.hidden=256"],
    "k3-p1-h512": ["model.hidden=512"],
    "k3-p1-h128-symmetric": ["data.scaling=symmetric"],
    "k3-p1-h128-standard": ["data.scaling=standard"],
}
PUBLISHED = {
    "final_test_accuracy": 0.9269,
    "best_test_accuracy": 0.9304,
    "lowest_test_loss": 0.2126,
    "final_test_loss": 0.2549,
    "final_train_loss": 0.0952,
}


def run_candidate(name: str, seed: int, folder: Path) -> None:
    """Train one candidate with one seed, unless its result is there."""
    result = folder / f"{name}-seed{seed}.json"
    if result.exists():
        return
    from fashioncnn.config import resolve
    from fashioncnn.data.sources import load_dataset
    from fashioncnn.runtime import resolve_runtime
    from fashioncnn.training.run import train_model

    settings = resolve("baseline", flags={"seed": seed, "threads": 1}, assignments=CANDIDATES[name])
    settings = settings.model_copy(update={"runtime": resolve_runtime(settings.runtime)})
    outcome = train_model(settings, load_dataset(settings.data.source))
    content = {
        "candidate": name,
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "parameters": outcome.model.parameters,
        "summary": outcome.metrics["summary"],
        "history": outcome.history,
        "test": outcome.metrics["test"],
    }
    content["settings"]["data"]["source"] = None
    folder.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(content, indent=1) + "\n")
    print(name, seed, json.dumps(content["summary"]), flush=True)


def figures(summary: dict[str, object]) -> dict[str, float]:
    """Return the five published figures as this run has them."""
    values = {}
    for key in PUBLISHED:
        value = summary[key]
        values[key] = float(value["value"] if isinstance(value, dict) else value)  # type: ignore[arg-type]
    return values


def print_table(folder: Path) -> None:
    """Print every candidate's figures, and its distance from the published ones."""
    runs: dict[str, list[dict[str, float]]] = {}
    for path in sorted(folder.glob("*-seed*.json")):
        content = json.loads(path.read_text())
        runs.setdefault(content["candidate"], []).append(figures(content["summary"]))
    # The spread between seeds, pooled over the candidates that were run with several.
    many = [rows for rows in runs.values() if len(rows) >= 3]
    spread = (
        {
            key: statistics.fmean(statistics.variance([r[key] for r in rows]) for rows in many)
            ** 0.5
            for key in PUBLISHED
        }
        if many
        else None
    )
    print("| candidate | n | " + " | ".join(PUBLISHED) + " | sum of abs(z) |")
    print("| --- " * (len(PUBLISHED) + 3) + "|")
    print("| published | 1 | " + " | ".join(f"{v:.4f}" for v in PUBLISHED.values()) + " | |")
    for name, rows in runs.items():
        means = {key: statistics.fmean(r[key] for r in rows) for key in PUBLISHED}
        distance = (
            f"{sum(abs(means[k] - PUBLISHED[k]) / spread[k] for k in PUBLISHED):.1f}"
            if spread
            else ""
        )
        cells = " | ".join(f"{means[k]:.4f}" for k in PUBLISHED)
        print(f"| {name} | {len(rows)} | {cells} | {distance} |")
    if spread:
        print("| sd between seeds | | " + " | ".join(f"{v:.4f}" for v in spread.values()) + " | |")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fit_baseline"))
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    options = parser.parse_args()
    if not options.table:
        os.environ.setdefault("FASHIONCNN_DATA", "../shared/fashion-mnist")
        for name in options.only:
            for seed in options.seeds:
                run_candidate(name, seed, options.out)
    print_table(options.out)


if __name__ == "__main__":
    main()
