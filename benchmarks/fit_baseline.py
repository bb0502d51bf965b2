"""Determine the unpublished hyper-parameters of FashionCNN from its published test results.

    python benchmarks/fit_baseline.py --only k3-p1-h128 --seeds 0 1 2 3 4
    python benchmarks/fit_baseline.py --table

Kernel size, padding, hidden units and pixel scaling were not published. Each candidate is trained
as `baseline` otherwise, and compared by the sum of |z| over the five published figures, with z in
units of the standard deviation between seeds. **This selects on the test split**: its purpose is to
reproduce published test results, and nothing else in this project may be selected like this.

Each finished run leaves ``benchmarks/results/fit_baseline/<candidate>/seed<n>.json``. The selected
candidate is the recipe `baseline`; its results are in ``benchmarks/results/baseline``.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from common import RESULTS, make_parser, read_seeds, use_shared_data
from seeds import PUBLISHED, published_figures, run_seed
from tables import markdown_table

Figures = dict[str, float]
"""Values by the keys of `PUBLISHED`."""

SELECTED = "k3-p1-h256"
CANDIDATES = {
    "k3-p1-h128": ["model.hidden=128"],
    "k3-p1-h256": ["model.hidden=256"],
    "k3-p1-h512": ["model.hidden=512"],
    "k3-p0-h128": ["model.hidden=128", "model.padding=0"],
    "k3-p1-h128-symmetric": ["model.hidden=128", "data.scaling=symmetric"],
    "k3-p1-h128-standard": ["model.hidden=128", "data.scaling=standard"],
}
"""Settings by candidate; k is the kernel size, p the padding, h the number of hidden units."""


def result_folder(name: str) -> Path:
    """Return the folder of a candidate's results."""
    return RESULTS / "baseline" if name == SELECTED else RESULTS / "fit_baseline" / name


def distance(values: Figures, std: Figures) -> float:
    """Return the sum of |z| over the published figures."""
    return sum(abs(values[key] - PUBLISHED[key]) / std[key] for key in PUBLISHED)


def pooled_std(candidates: dict[str, list[Figures]]) -> Figures:
    """Return the standard deviation between seeds, pooled over candidates with several seeds."""
    several = [rows for rows in candidates.values() if len(rows) > 1]
    if not several:
        raise SystemExit("the table needs at least one candidate with two seeds")
    return {
        key: statistics.fmean(statistics.variance([r[key] for r in rows]) for rows in several)
        ** 0.5
        for key in PUBLISHED
    }


def print_table() -> None:
    """Print the figures of every candidate, and its distance from the published ones."""
    results = {name: read_seeds(result_folder(name)) for name in CANDIDATES}
    candidates = {
        name: [published_figures(result["summary"]) for result in seeds]
        for name, seeds in results.items()
        if seeds
    }
    std = pooled_std(candidates)
    rows = [("published", "1", *_cells(PUBLISHED), "", "")]
    for name, figures in candidates.items():
        means = {key: statistics.fmean(f[key] for f in figures) for key in PUBLISHED}
        distances = [f"{distance(values, std):.1f}" for values in (means, figures[0])]
        rows.append((name, str(len(figures)), *_cells(means), *distances))
    rows.append(("std between seeds", "", *_cells(std), "", ""))
    titles = [key.replace("_", " ") for key in PUBLISHED]
    print(markdown_table(("candidate", "n", *titles, "sum of abs(z)", "first seed only"), rows))


def _cells(values: Figures) -> list[str]:
    return [f"{values[key]:.4f}" for key in PUBLISHED]


def main() -> None:
    """Train seeds that are not recorded, or print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="print the table, train nothing")
    options = parser.parse_args()
    if options.table:
        print_table()
        return
    use_shared_data()
    for name in options.only:
        for seed in options.seeds:
            path = result_folder(name) / f"seed{seed}.json"
            run_seed(path, "baseline", seed, CANDIDATES[name], threads=1, test=True, flip=False)


if __name__ == "__main__":
    main()
