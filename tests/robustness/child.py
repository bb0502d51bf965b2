"""One command with constant times: ``python -m tests.robustness.child train …``."""

import sys

from fashioncnn.cli import main

from .comparable import constant_times

if __name__ == "__main__":
    with constant_times():
        sys.exit(main(sys.argv[1:]))
