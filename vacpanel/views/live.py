"""Drawn once, patched ever after: the fast path from a click to the screen.

A `DynamicMap` update makes Bokeh walk every model of the page; patching the `ColumnDataSource` of a plot that HoloViews
drew once does not, and keeps the user's zoom (measured 3 to 8 times faster on a dashboard-sized page).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import holoviews as hv
import numpy as np
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import (
    BoxSelectTool,
    ColumnDataSource,
    CustomJS,
    FixedTicker,
    HoverTool,
    LassoSelectTool,
    LinearColorMapper,
    MultiLine,
    Scatter,
    Segment,
    Text,
)

from vacpanel.browser import script
from vacpanel.notebook import hold, unlocked
from vacpanel.palette import NEUTRAL
from vacpanel.views.columns import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


Picked = hv.streams.Stream.define("Picked", index=[])
"""The rows of the marks that the user tapped, or drew a box or lasso around.

HoloViews' own ``Selection1D`` waits 10 ms for more to come and leaves Bokeh's selection behind, for which the plot is
painted twice more.
"""


class LiveSource:
    """The column data sources behind a HoloViews element that is drawn once.

    Pass `hook` in the element's ``hooks``; then `patch` replaces columns in every place where it is drawn, later ones
    included. Patch the columns that the *glyph* reads, all of one length. Give HoloViews the element's dimensions only,
    and patch the other columns before it draws: it asks every column that it knows for its range, and makes a constant
    of one that happens to be constant.

    Parameters
    ----------
    **fields
        Properties of the Bokeh glyph that follow a column, e.g. ``fill_color="color"``.
    palette
        Where given, the column that ``fill_color`` follows holds numbers of these colours.
    """

    def __init__(self, *, palette: Sequence[str] = (), **fields: str) -> None:
        self._fields, self._palette = fields, list(palette)
        # HoloViews keeps an element's hooks in a global store until the element dies, so nothing here may lead back to
        # the page: with strong references no session would ever be freed.
        self._drawn: list[_Drawn] = []
        self._picked: ref[Any] | None = None
        # What was patched before the plot was rendered, or is rendered in another place, belongs to it all the same.
        self._columns: dict[str, Any] = {}
        self._ends: dict[str, tuple[float, float]] = {}
        self._labels: dict[str, str] = {}

    def hook(self, plot: Any, element: Any) -> None:  # noqa: ARG002
        """Take over the source that HoloViews made for this element."""
        source = plot.handles["source"]
        renderer = plot.handles["glyph_renderer"]
        # What is selected is ours to show; Bokeh's own fading of the rest would contradict it.
        renderer.update(selection_glyph=None, nonselection_glyph=None)
        if self._picked is not None:
            self._listen(plot.state, renderer)
        _dress(plot.state)
        self._take(source, plot)
        styles: dict[str, Any] = {name: {"field": column} for name, column in self._fields.items()}
        if self._palette:
            styles["fill_color"]["transform"] = _by_number(self._palette)
        renderer.glyph.update(**styles)

    def _listen(self, figure: Any, renderer: Any) -> None:
        """Let the page tell which marks were picked."""
        picked = self._picked
        # A model that does nothing, for a property that no plot is painted for.
        pick = CustomJS(code="")

        def told(attr: str, old: list[int], new: list[int]) -> None:  # noqa: ARG001
            if picked is not None and (stream := picked()) is not None:
                stream.event(index=new[1:])  # behind the number of the event: the same may be picked again

        pick.on_change("tags", told)
        args = {"figure": figure, "renderer": renderer, "pick": pick}
        figure.js_on_event(Tap, CustomJS(args=args, code=script("picked", "tap")))
        for tool in figure.tools:
            if isinstance(tool, BoxSelectTool | LassoSelectTool):
                tool.renderers = []  # it only draws: its own selection would travel, and be painted, for nothing
        figure.js_on_event(SelectionGeometry, CustomJS(args=args, code=script("picked", "lasso")))

    def _take(self, source: ColumnDataSource, plot: Any) -> None:
        """Remember a source and the plot it is drawn in, and give it what was patched before."""
        if any(drawn.source() is source for drawn in self._drawn):
            return
        x_range, y_range = plot.handles["x_range"], plot.handles["y_range"]
        drawn = _Drawn(ref(source), ref(x_range), ref(y_range), ref(plot.state))
        self._drawn.append(drawn)
        if self._columns:
            _replace(source, self._columns)
        for axis, ends in self._ends.items():
            drawn.move(axis, *ends)
        for axis, text in self._labels.items():
            drawn.label(axis, text)

    def patch(self, **columns: Any) -> None:
        """Replace columns, all of one length; other columns that have another length now are dropped.

        Only what differs from what the page has travels there.
        """
        columns = {name: inside(column) for name, column in columns.items()}
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

        def selected(index: list[int]) -> None:
            with hold():
                if several is None or len(index) == 1:
                    one(index[-1])
                else:
                    several(sorted(index))

        # The stream lives as long as the element: HoloViews' registry holds it.
        stream = Picked(source=element)
        stream.add_subscriber(selected)
        self._picked = ref(stream)

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

    def label(self, axis: str, text: str) -> None:
        """Write a label along an axis, ``"x"`` or ``"y"``, instead of the one that is there."""
        self._labels[axis] = text
        with unlocked():
            for drawn in self._drawn:
                drawn.label(axis, text)

    def _sources(self) -> list[ColumnDataSource]:
        """Return the sources that still exist."""
        self._drawn = [drawn for drawn in self._drawn if drawn.source() is not None]
        return [source for drawn in self._drawn if (source := drawn.source()) is not None]


GLYPHS = {"scatter": Scatter, "segment": Segment, "multi_line": MultiLine, "text": Text}


class LiveGlyph(LiveSource):
    """A Bokeh glyph in the plot of a HoloViews element, patched like it.

    For what belongs to a plot but is no data of its own: rings, names, lines. An element more costs a page some 70 ms,
    a glyph some 3 ms. Pass `hook` in the element's ``hooks``, behind those of what it lies upon.

    Parameters
    ----------
    kind
        ``"scatter"``, ``"segment"``, ``"multi_line"`` or ``"text"``.
    level
        ``"underlay"`` below the element, else above it.
    tooltips
        What hover tells, if it should.
    line_policy
        Of hover, for lines.
    **style
        Properties of the glyph; a column where they name one.
    """

    def __init__(
        self,
        kind: str,
        *,
        level: str = "glyph",
        tooltips: Sequence[tuple[str, str]] = (),
        line_policy: str = "nearest",
        **style: Any,
    ) -> None:
        super().__init__()
        self._kind, self._style, self._level = kind, style, level
        self._tooltips, self._line_policy = list(tooltips), line_policy

    def hook(self, plot: Any, element: Any) -> None:  # noqa: ARG002
        """Draw the glyph into the plot."""
        source = ColumnDataSource(data=dict(self._columns))
        # Not by the figure's method of this name: that makes three more glyphs, for selections that there are not.
        renderer = plot.state.add_glyph(source, GLYPHS[self._kind](**self._style), level=self._level)
        if self._tooltips:
            hover = HoverTool(tooltips=self._tooltips, renderers=[renderer], line_policy=self._line_policy)
            plot.state.add_tools(hover)
        self._take(source, plot)


def _dress(figure: Any) -> None:
    """Let the page show through a plot, and its axes follow the page's colours."""
    figure.update(background_fill_color=None, border_fill_color=None, outline_line_color=None)
    for axis in figure.axis:
        axis.update(
            axis_line_color=None,
            major_tick_line_color=None,
            minor_tick_line_color=None,
            axis_label_text_font_style="normal",
        )
    for grid in figure.grid:
        # Bokeh asks the style sheet for the colours of a grid that is not there, too.
        grid.update(visible=grid.visible and grid.grid_line_color is not None)
        grid.update(grid_line_color=NEUTRAL, grid_line_alpha=0.25)
    figure.js_on_change("inner_width", CustomJS(args={"figure": figure}, code=script("ink", "unchanged")))


def _by_number(palette: list[str]) -> LinearColorMapper:
    return LinearColorMapper(palette=palette, low=-0.5, high=len(palette) - 0.5)


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
    plain = not any(isinstance(x, np.ndarray) for x in (*a[:1], *b[:1]))
    return a == b if plain else all(map(_equal, a, b))


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

    def label(self, axis: str, text: str) -> None:
        """Write a label along an axis."""
        figure = self.figure()
        for one in () if figure is None else figure.xaxis if axis == "x" else figure.yaxis:
            one.axis_label = text


def quiet_toolbar(plot: Any, element: Any) -> None:  # noqa: ARG001
    """Keep the toolbar out of sight until the pointer comes, beside the plot: inside, it lay upon marks at the edge."""
    figure = plot.state
    figure.toolbar.update(autohide=True, logo=None)
    figure.toolbar_inner = False
    figure.outline_line_width = 0


def axis_room(pixels: int) -> Callable[[Any, Any], None]:
    """Return a hook that keeps the same room for the x axis and its names, whichever are in sight."""

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        for axis in plot.state.xaxis:
            axis.tags = [pixels]

    return hook


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


def square_units(half_width: float, half_height: float, margin: float = 0.0) -> Callable[[Any, Any], None]:
    """Return a hook that keeps one unit as long on x as on y, whatever the shape of the panel.

    Parameters
    ----------
    half_width, half_height
        The rectangle around the origin that must stay in sight, in data units.
    margin
        Room above and below it for text, in px.
    """

    def hook(plot: Any, element: Any) -> None:  # noqa: ARG001
        figure = plot.state
        figure.update(min_border=2, outline_line_width=0)
        fit = CustomJS(
            args={"figure": figure, "w": half_width, "h": half_height, "margin": margin},
            code="""
            const sizes = [figure.properties.inner_width, figure.properties.inner_height]
            if (sizes.some((size) => size.is_unset)) return
            const [width, height] = sizes.map((size) => size.get_value())
            if (!(width > 0 && height > 0)) return
            const aspect = width / height
            const drawn = Math.max(0.5, 1 - (2 * margin) / height)  // the share without text
            const half = Math.max(h / drawn, w / aspect)
            figure.x_range.setv({start: -half * aspect, end: half * aspect})
            figure.y_range.setv({start: -half, end: half})
            """,
        )
        figure.js_on_change("inner_width", fit)
        figure.js_on_change("inner_height", fit)

    return hook
