"""Parts that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from panel.viewable import Viewable


def show(part: Viewable, whether: bool = True) -> None:
    """Show a part of a view or take it out of sight, and leave the rest of the page alone.

    Its ``visible`` would make Bokeh lay out the whole page anew, plots included, which takes a quarter of a second. A
    style is the browser's affair alone, and plots notice a new size by themselves.
    """
    if whether != is_shown(part):
        part.styles = {**part.styles, "display": None if whether else "none"}


def is_shown(part: Viewable) -> bool:
    """Return whether a part is in sight as far as `show` has decided."""
    return bool(part.styles.get("display") != "none")
