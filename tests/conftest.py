"""What holds for all tests."""

from __future__ import annotations

import os
import sys

# Whoever wants no bytecode files pays for it here: hundreds of processes would compile all of their modules anew.
sys.dont_write_bytecode = False
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
