"""Modules whose tests are skipped here for want of a component: ``python -m tests.not_tested``.

`make test` omits them from the coverage. The checks are those that skip the tests, but that nothing
is compiled.
"""

import sys
from importlib.util import find_spec

from fashioncnn.kernels import build

from .postgres import missing as missing_postgres


def missing_ray():
    """Why no job runs on Ray; empty if one can."""
    return "" if find_spec("ray") and find_spec("pyarrow") else "needs the extra [ray]"


def missing_kernels():
    """Why no kernels are compiled; empty if there is a compiler for them."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if any(build._compilers()) else "needs a C compiler"


MODULES = {
    "PostgreSQL": (missing_postgres, ("*/fashioncnn/tuning/postgres.py",)),
    "Ray": (missing_ray, ("*/fashioncnn/cluster/*", "*/fashioncnn/cli/predict_ray.py")),
    "compiled kernels": (missing_kernels, ("*/fashioncnn/kernels/*",)),
}
"""By component: a function that returns why it is missing, and patterns of the modules."""


def find_omitted():
    """Return the patterns of the modules that are not tested here, and messages why."""
    patterns, messages = [], []
    for component, (missing, modules) in MODULES.items():
        if reason := missing():
            patterns += modules
            messages.append(f"coverage without {', '.join(modules)}: no {component} ({reason})")
    return patterns, messages


if __name__ == "__main__":
    patterns, messages = find_omitted()
    for message in messages:
        print(message, file=sys.stderr)  # noqa: T201
    print(",".join(patterns))  # noqa: T201
