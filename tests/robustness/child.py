"""One command with constant times: ``python -m tests.robustness.child train …``."""

import contextlib
import sys

from fashioncnn.cli import main

from .comparable import constant_times

if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        # Without memory or file descriptors for what is patched, the command fails, too.
        with contextlib.suppress(ImportError, MemoryError, OSError, RuntimeError):
            stack.enter_context(constant_times())
        sys.exit(main(sys.argv[1:]))
