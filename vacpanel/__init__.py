"""vacpanel: compare and understand many image classifiers.

`Dashboard` is the whole app as one object; the single views live in `vacpanel.views`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vacpanel.dashboard import Dashboard

__all__ = ["Dashboard", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Importing Panel takes a second; ``vacpanel --help`` should not.
    if name == "Dashboard":
        from vacpanel.dashboard import Dashboard

        return Dashboard
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
