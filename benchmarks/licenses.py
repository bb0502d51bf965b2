"""List the licences of all packages that fashioncnn needs here.

    python benchmarks/licenses.py              what is installed, development tools included
    python benchmarks/licenses.py --extra tune

The list follows the requirements of each package from those in pyproject.toml, as they apply to
this machine; packages in the environment that nothing requires are not in it. Exits with 1 if a
licence is not in `ACCEPTED`, or a package declares none.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tables import markdown_table

ROOT = Path(__file__).parents[1]
ACCEPTED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|MPL|Mozilla|PSF|Python Software|Matplotlib|HPND|Unlicense|Zlib|0BSD|"
    r"MIT-CMU|Public Domain)\b",
    re.IGNORECASE,
)
"""Permissive licences, and the Mozilla Public License, whose terms apply to its own files only."""
LIBRARIES = frozenset({"psycopg", "psycopg-binary"})
"""Under the LGPL, which allows their use as libraries; only the extra ``[postgres]`` needs them."""
MAX_LENGTH = 60
"""Characters of a licence in the table; some packages put its whole text in that field."""


def project_requirements(extra: str) -> list[str]:
    """Return the requirements in ``pyproject.toml``, with those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = list(project["dependencies"])
    pending = [extra]
    while pending:
        for text in project["optional-dependencies"][pending.pop()]:
            requirement = Requirement(text)
            if requirement.name == project["name"]:
                pending += requirement.extras
            else:
                requirements.append(text)
    return requirements


def required_packages(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Return the installed packages that requirements need, directly or not, by canonical name.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    found: dict[str, Distribution] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    pending = [(text, frozenset({""})) for text in requirements]
    while pending:
        text, parent_extras = pending.pop()
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in parent_extras):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset({"", *requirement.extras})
        if (name, extras) not in done:
            done.add((name, extras))
            found[name] = distribution(name)
            pending += [(inner, extras) for inner in found[name].requires or []]
    return dict(sorted(found.items()))


def license_of(package: Distribution) -> str:
    """Return the licence that a package declares: its SPDX expression, text or classifiers."""
    metadata = package.metadata
    expression = "".join(metadata.get_all("License-Expression") or [])
    text = "".join(metadata.get_all("License") or []).strip().splitlines()
    classifiers = [
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier") or []
        if classifier.startswith("License :: ") and not classifier.endswith(" :: OSI Approved")
    ]
    return expression or ", ".join(classifiers) or (text[0][:MAX_LENGTH] if text else "none")


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--extra", default="dev", help="of pyproject.toml; default: dev")
    packages = required_packages(project_requirements(parser.parse_args().extra))
    licenses = {name: license_of(package) for name, package in packages.items()}
    rows = [(name, packages[name].version, licenses[name]) for name in packages]
    print(markdown_table(("Package", "Version", "Licence"), rows, left=(0, 1, 2)))
    unknown = [
        name
        for name, text in licenses.items()
        if not ACCEPTED.search(text) and name not in LIBRARIES
    ]
    if unknown:
        print(f"\nnot a known permissive licence: {', '.join(unknown)}")
    return int(bool(unknown))


if __name__ == "__main__":
    raise SystemExit(main())
