"""``python -m vacpanel`` is the console script."""

from __future__ import annotations

from vacpanel.cli import main

if __name__ == "__main__":
    main()
