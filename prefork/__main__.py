"""``python -m prefork``: the same as ``prefork-wsgi``."""

from __future__ import annotations

import sys

from prefork.cli import main

if __name__ == '__main__':
    sys.exit(main())
