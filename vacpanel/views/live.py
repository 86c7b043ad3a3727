"""Drawn once, patched ever after: the fast path from a click to the screen.

A `DynamicMap` update makes Bokeh walk every model of the page; patching the `ColumnDataSource` of a plot that HoloViews
drew once does not, and keeps the user's zoom (measured 3 to 8 times faster on a dashboard-sized page).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import holoviews as hv
from bokeh.models import CustomJS, FixedTicker, TapTool
from panel.io import hold, unlocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.models import ColumnDataSource


class LiveSource:
    """The column data sources behind a HoloViews element that is drawn once.

    Pass `hook` in the element's ``hooks``; then `patch` replaces columns in every place where it is drawn. Patch the
    columns that the *glyph* reads, all of one length.

    Parameters
    ----------
    **fields
        Properties of the Bokeh glyph that follow a column, e.g. ``fill_color="color"``. HoloViews makes a constant of a
        column that happens to be constant when it is drawn; named here it stays a column.
    """

    def __init__(self, **fields: str) -> None:
        self._fields = fields
        # HoloViews keeps an element's hooks in a global store until the element dies, so nothing here may lead back to
        # the page: with strong references no session would ever be freed.
        self._drawn: list[_Drawn] = []
        self._tappable = False

    def hook(self, plot: Any, element: Any) -> None:
        """Remember the source that HoloViews made for this element."""
        source = plot.handles["source"]
        renderer = plot.handles["glyph_renderer"]
        # What is selected is ours to show; Bokeh's own fading of the rest would contradict it.
        renderer.update(selection_glyph=None, nonselection_glyph=None)
        for column in self._fields.values():
            if column not in source.data:
                source.data[column] = list(element.dimension_values(column))
        renderer.glyph.update(**{name: {"field": column} for name, column in self._fields.items()})
        if self._tappable:
            for tool in plot.state.select(type=TapTool):
                others = [] if tool.renderers == "auto" else tool.renderers
                tool.renderers = [*others, renderer]  # grids and labels are not for tapping
        if all(drawn.source() is not source for drawn in self._drawn):
            self._drawn.append(_Drawn(ref(source), ref(plot.handles["x_range"]), ref(plot.handles["y_range"])))

    def patch(self, **columns: Any) -> None:
        """Replace columns, all of one length; other columns that have another length now are dropped."""
        length = len(next(iter(columns.values())))
        with unlocked():
            for source in self._sources():
                data = {**source.data, **columns}
                source.data = {name: column for name, column in data.items() if len(column) == length}

    def on_tap(self, element: Any, action: Callable[[int], None]) -> None:
        """Call `action` with the row of the mark that is tapped.

        Parameters
        ----------
        element
            The HoloViews element that this source draws.
        action
            Usually sets the state; all that it causes reaches the browser in one message.
        """
        self._tappable = True

        def tapped(index: list[int]) -> None:
            if index:
                with hold():
                    self._clear_selection()
                    action(index[-1])

        hv.streams.Selection1D(source=element).add_subscriber(tapped)

    def ranges(self, **ends: tuple[float, float]) -> None:
        """Move the axis ranges, e.g. ``ranges(x=(0, 8))``, and their reset positions with them."""
        with unlocked():
            for drawn in self._drawn:
                for axis, (start, end) in ends.items():
                    axis_range = drawn.x_range() if axis == "x" else drawn.y_range()
                    if axis_range is not None:
                        axis_range.update(start=start, end=end, reset_start=start, reset_end=end)

    def _clear_selection(self) -> None:
        """Undo Bokeh's own selection, so that a second tap on the same mark is an event again."""
        with unlocked():
            for source in self._sources():
                if source.selected.indices:
                    source.selected.indices = []

    def _sources(self) -> list[ColumnDataSource]:
        """Return the sources that still exist."""
        self._drawn = [drawn for drawn in self._drawn if drawn.source() is not None]
        return [source for drawn in self._drawn if (source := drawn.source()) is not None]


class _Drawn(NamedTuple):
    """One place where an element is drawn."""

    source: ref[ColumnDataSource]
    x_range: ref[Any]
    y_range: ref[Any]


def quiet_toolbar(plot: Any, element: Any) -> None:  # noqa: ARG001
    """Keep the toolbar inside the frame and out of sight until the pointer comes: small panels need the room."""
    figure = plot.state
    figure.toolbar.update(autohide=True, logo=None)
    figure.toolbar_inner = True
    figure.outline_line_width = 0


def ticks_at(positions: list[float]) -> Callable[[Any, Any], None]:
    """Return a hook that puts ticks and grid lines of the x axis at `positions`."""

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        ticker = FixedTicker(ticks=positions, minor_ticks=[])
        for guide in (*plot.state.xaxis, *plot.state.xgrid):
            guide.ticker = ticker

    return hook


def no_outline(plot: Any, element: Any) -> None:  # noqa: ARG001
    """Draw no frame around the plot; the panel has one."""
    plot.state.outline_line_width = 0


def square_units(half_width: float, half_height: float) -> Callable[[Any, Any], None]:
    """Return a hook that keeps one unit as long on x as on y, whatever the shape of the panel.

    Parameters
    ----------
    half_width, half_height
        The rectangle around the origin that must stay in sight, in data units.
    """

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        figure = plot.state
        figure.update(min_border=2, outline_line_width=0)
        fit = CustomJS(
            args={"figure": figure, "w": half_width, "h": half_height},
            code="""
            if (!(figure.inner_width > 0 && figure.inner_height > 0)) return
            const aspect = figure.inner_width / figure.inner_height
            const half = Math.max(h, w / aspect)
            figure.x_range.setv({start: -half * aspect, end: half * aspect})
            figure.y_range.setv({start: -half, end: half})
            """,
        )
        figure.js_on_change("inner_width", fit)
        figure.js_on_change("inner_height", fit)

    return hook
