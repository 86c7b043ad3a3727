"""Texts that a page gets once, and then finds by number: what changes with every tap stays small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bokeh.models import CustomJSHover, HoverTool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def lookup_hover(tooltips: Sequence[tuple[str, str]], texts: Mapping[str, Sequence[str]], **options: Any) -> HoverTool:
    """Return a hover tool that shows texts where a column holds their numbers.

    Parameters
    ----------
    tooltips
        (label, text) pairs in Bokeh's notation; ``@column{custom}`` is looked up.
    texts
        The texts by column.
    **options
        Of the hover tool.
    """
    formatters = {
        f"@{column}": CustomJSHover(args={"texts": list(known)}, code="return texts[value] ?? ''")
        for column, known in texts.items()
    }
    return HoverTool(tooltips=list(tooltips), formatters=formatters, **options)
