"""Fit what the description of FashionCNN leaves open to the figures it publishes.

    python benchmarks/fit_baseline.py --only k3-p1-h128 --seeds 0 1 2 3 4
    python benchmarks/fit_baseline.py --table

Kernel size, padding, hidden width and input scaling are not told. Each candidate is trained as
`baseline` otherwise, and compared by the sum of |z| over the five published figures, where z is
in units of the spread between seeds. **This looks at test figures**: it is a reproduction of
published test figures, and nothing else in this project may be chosen this way.

Each finished run leaves ``benchmarks/results/fit_baseline/<candidate>/seed<n>.json``; those of the
chosen candidate are the recipe `baseline`, and lie in ``benchmarks/results/baseline``.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from seeds import PUBLISHED, RESULTS, published_figures, read_results, run_seed, use_shared_data

CHOSEN = "k3-p1-h256"
CANDIDATES = {
    "k3-p1-h128": ["model.hidden=128"],
    "k3-p1-h256": ["model.hidden=256"],
    "k3-p1-h512": ["model.hidden=512"],
    "k3-p0-h128": ["model.hidden=128", "model.padding=0"],
    "k3-p1-h128-symmetric": ["model.hidden=128", "data.scaling=symmetric"],
    "k3-p1-h128-standard": ["model.hidden=128", "data.scaling=standard"],
}


def folder_of(name: str) -> Path:
    """Return where a candidate's results are: those of the chosen one are the baseline's."""
    return RESULTS / "baseline" if name == CHOSEN else RESULTS / "fit_baseline" / name


def distance(values: dict[str, float], spread: dict[str, float]) -> float:
    """Return the sum of |z| over the published figures."""
    return sum(abs(values[key] - PUBLISHED[key]) / spread[key] for key in PUBLISHED)


def print_table() -> None:
    """Print every candidate's figures, and its distance from the published ones."""
    runs = {}
    for name in CANDIDATES:
        results = read_results(folder_of(name))
        if results:
            runs[name] = [published_figures(r["summary"]) for r in results]
    # The spread between seeds, pooled over the candidates that were run with several.
    many = [rows for rows in runs.values() if len(rows) > 1]
    if not many:
        raise SystemExit("the table needs at least one candidate with two seeds")
    spread = {
        key: statistics.fmean(statistics.variance([r[key] for r in rows]) for rows in many) ** 0.5
        for key in PUBLISHED
    }
    titles = " | ".join(key.replace("_", " ") for key in PUBLISHED)
    print(f"| candidate | n | {titles} | sum of abs(z) | first seed alone |")
    print("| --- " + "| ---: " * (len(PUBLISHED) + 3) + "|")
    print("| published | 1 | " + " | ".join(f"{v:.4f}" for v in PUBLISHED.values()) + " | | |")
    for name, rows in runs.items():
        means = {key: statistics.fmean(r[key] for r in rows) for key in PUBLISHED}
        cells = " | ".join(f"{means[key]:.4f}" for key in PUBLISHED)
        distances = f"{distance(means, spread):.1f} | {distance(rows[0], spread):.1f}"
        print(f"| {name} | {len(rows)} | {cells} | {distances} |")
    print("| sd between seeds | | " + " | ".join(f"{v:.4f}" for v in spread.values()) + " | | |")


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    options = parser.parse_args()
    if options.table:
        print_table()
        return
    use_shared_data()
    for name in options.only:
        for seed in options.seeds:
            result = folder_of(name) / f"seed{seed}.json"
            run_seed(result, "baseline", seed, CANDIDATES[name], threads=1, test=True, flip=False)


if __name__ == "__main__":
    main()
