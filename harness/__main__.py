"""``python -m harness``: the same as the console script ``harness``."""

import sys

from harness.commands import main

sys.exit(main())
