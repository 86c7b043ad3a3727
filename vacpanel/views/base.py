"""The contract of a view, and the frame that all views share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import panel as pn
import param

from vacpanel.state import Selection
from vacpanel.views.text import HEAD_CSS, empty, line

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from warehouse import Warehouse
    from warehouse.predicate import Predicate
    from warehouse.tally import Tally

if "bokeh" not in hv.Store.renderers:
    hv.extension("bokeh", logo=False)
# Canvas is 55 ms faster than WebGL below ten thousand points where no GPU draws the page.
hv.renderer("bokeh").webgl = False

CARD_CSS = """
:host { border: 1px solid rgba(128, 128, 128, .3); border-radius: 6px; overflow: hidden;
        background: var(--vac-surface, transparent); }
"""


class View(pn.viewable.Viewer):
    """A linked view of one warehouse.

    Subclasses draw in `body`, declare what they show in `heading`, and react to `state`. The contract, which
    ``tests/contracts/test_views.py`` holds for every registered view: it renders on an empty and on a filled
    warehouse, follows the state, writes to the state only what the user did, and is freed with its session.

    Parameters
    ----------
    warehouse
        The open warehouse (read-only, shared by all sessions of the process).
    state
        The selection; a new one when a view is used alone.
    """

    heading = param.String(default="", doc="One line that says what is shown now.")
    state = param.ClassSelector(class_=Selection, doc="The selection this view reads and writes.")

    title: ClassVar[str] = ""
    slot: ClassVar[str] = "main"
    help_text: ClassVar[str] = ""
    own: ClassVar[tuple[str, ...]] = ()
    """Conditions of the filter that this view does not apply: it shows what they leave out, faintly, to choose from."""

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(state=state if state is not None else Selection(generation=warehouse.generation), **params)
        self.warehouse = warehouse
        self._frame: Viewable | None = None

    @property
    def where(self) -> Predicate:
        """The filter as this view applies it."""
        return self.state.filter.without(*self.own)

    @property
    def tally(self) -> Tally:
        """The counts behind all accuracies that this view shows."""
        return self.warehouse.tally(self.where)

    @property
    def rate(self) -> str:
        """What the rates of the tally are called."""
        return "error" if self.where.correct is False else "accuracy"

    def body(self) -> Viewable:
        """Return the drawing itself, without heading; called once."""
        raise NotImplementedError

    def __panel__(self) -> Viewable:
        """Return heading, help and drawing as one framed panel."""
        if self._frame is None:
            heading = line(self.param.heading, HEAD_CSS, margin=(7, 0, 2, 10), sizing_mode="stretch_width")
            tip = pn.widgets.TooltipIcon(value=self.help_text, margin=(4, 6, 0, 4), align="center")
            self._frame = pn.Column(
                pn.Row(heading, tip, sizing_mode="stretch_width"),
                self.body(),
                sizing_mode="stretch_both",
                stylesheets=[CARD_CSS],
                margin=4,
                css_classes=["vac-view", f"vac-{type(self).__name__.lower()}"],
            )
        return self._frame


class PlotView(View):
    """A view whose body is one HoloViews object, drawn anew only when the warehouse shows a new generation.

    Subclasses implement `draw` and follow every other change of the state by patching their `LiveSource` objects.
    """

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        super().__init__(warehouse, state, **params)
        self._pane = pn.pane.HoloViews(None, sizing_mode="stretch_both", linked_axes=False)
        self._box = pn.Column(sizing_mode="stretch_both", min_height=120)
        self.redraw()

    def draw(self) -> Any:
        """Return a HoloViews object, or a sentence (str) when there is nothing to draw."""
        raise NotImplementedError

    @param.depends("state.generation", watch=True)
    def redraw(self) -> None:
        """Draw from the warehouse again."""
        drawing = self.draw()
        if isinstance(drawing, str):
            self._box[:] = [empty(drawing)]
            return
        self._pane.object = drawing
        if self._pane not in self._box:
            self._box[:] = [self._pane]

    def body(self) -> Viewable:
        """Return the box that holds the plot or the sentence."""
        return self._box
