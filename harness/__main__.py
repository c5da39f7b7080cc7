"""``python -m harness``: the same as the console script ``harness``."""

import sys

from harness.commands.command_line import main

sys.exit(main())
