"""``python -m fashioncnn``."""

import sys

from fashioncnn.cli import main

sys.exit(main())
