"""The contract of a view, and the frame that all views share."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import re
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb
import holoviews as hv
import panel as pn
import param
from holoviews.plotting import bokeh as _bokeh  # noqa: F401  (registers its renderer)

from vacpanel import notebook
from vacpanel.state import Selection
from vacpanel.views.head import ViewHead
from vacpanel.views.text import empty
from warehouse import UserError, VacpanelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from panel.models.esm import DataEvent
    from panel.viewable import Viewable

    from warehouse import Warehouse
    from warehouse.predicate import Predicate
    from warehouse.tally import Tally

# Not by hv.extension: in a notebook that loads Bokeh from a CDN.
if hv.Store.current_backend not in hv.Store.renderers:
    hv.Store.set_current_backend("bokeh")
logger = logging.getLogger(__name__)
# Canvas is 55 ms faster than WebGL below ten thousand points where no GPU draws the page.
hv.renderer("bokeh").webgl = False

CARD_CSS = """
:host { border: 1px solid rgba(128, 128, 128, .3); border-radius: 6px; overflow: hidden;
        background: var(--vac-surface, transparent); min-height: var(--vac-least, 360px); }
:host(:popover-open) { inset: 8px !important; width: auto !important; height: auto !important; margin: 0 !important;
        max-width: none; max-height: none; color: inherit; background: var(--vac-surface, Canvas);
        box-shadow: 0 0 0 100vmax rgba(0, 0, 0, .45); }
"""
FORMATS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "svg": "image/svg+xml"}


class View(pn.viewable.Viewer):
    """A linked view of one warehouse.

    Subclasses draw in `body`, declare what they show in `heading`, say in `sql` which rows stand behind that, and react
    to `state`. The contract, which ``tests/contracts/test_views.py`` holds for every registered view: it renders on an
    empty and on a filled warehouse, follows the state, writes to the state only what the user did, gives its data, and
    is freed with its session.

    Parameters
    ----------
    warehouse
        The open warehouse (read-only, shared by all sessions of the process).
    state
        The selection; a new one when a view is used alone.
    """

    heading = param.String(default="", doc="One line that says what is shown now.")
    action = param.String(default="", doc="Label of a button in the head, see `act`; none where empty.")
    state = param.ClassSelector(class_=Selection, doc="The selection this view reads and writes.")

    title: ClassVar[str] = ""
    slot: ClassVar[str] = "main"
    help_text: ClassVar[str] = ""
    own: ClassVar[tuple[str, ...]] = ()
    """Conditions of the filter that this view does not apply: it shows what they leave out, faintly, to choose from."""

    def __init__(self, warehouse: Warehouse, state: Selection | None = None, **params: Any) -> None:
        notebook.prepare()
        super().__init__(state=state if state is not None else Selection(generation=warehouse.generation), **params)
        self.warehouse = warehouse
        self._frame: Viewable | None = None

    def sql(self) -> str:
        """Return the query for the rows behind what is shown now; by default the predictions that count.

        It holds all its values and runs on the warehouse with any DuckDB client.
        """
        return f"SELECT * FROM predictions WHERE {self.where.sql()} ORDER BY model, image_id"

    def data(self) -> pl.DataFrame:
        """Return the rows behind what is shown now, under the current state and filter: the answer to `sql`."""
        return self.warehouse.sql(self.sql()).pl()

    def svg(self, shown: Sequence[str] = ()) -> str:  # noqa: ARG002
        """Return what is shown now as an SVG document; empty where only the page can draw it, as it does plots.

        Called in a thread of its own.

        Parameters
        ----------
        shown
            The keys of the rows that are in sight, in their order, where the view has rows that the page arranges.
        """
        return ""

    def act(self, page: str) -> tuple[str, str, bytes]:
        """Do what the button in the head is for; return name, MIME type and content of a file to be saved.

        Called in a thread of its own, and only where `action` names the button.

        Parameters
        ----------
        page
            The address of the page, without its query; empty where there is none.
        """
        raise NotImplementedError

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
            draws = type(self).svg is not View.svg
            head = ViewHead(heading=self.heading, action=self.action, help=self.help_text, draws=draws)
            self.param.watch(lambda event: head.param.update(**{event.name: event.new}), ["heading", "action"])
            head.on_msg(lambda event: self._asked(head, event))
            self._frame = pn.Column(
                head,
                self.body(),
                sizing_mode="stretch_both",
                stylesheets=[CARD_CSS],
                margin=4,
                css_classes=["vac-view", f"vac-{type(self).__name__.lower()}"],
            )
        return self._frame

    def _asked(self, head: ViewHead, event: DataEvent) -> None:
        """Give the page what its menu asks for, beside the event loop: a large warehouse takes its time."""
        asked = event.data if isinstance(event.data, dict) else {}
        wanted, page, shown = asked.get("do"), asked.get("page"), asked.get("shown")
        if wanted == "sql":
            head.give(sql=f"{self.sql()};")
            return
        if wanted not in FORMATS and not (wanted == "act" and self.action):
            return
        page = page if isinstance(page, str) else ""
        keys = [key for key in shown if isinstance(key, str)] if isinstance(shown, list) else []

        async def give() -> None:
            try:
                name, mime, content = await asyncio.to_thread(self._file, wanted, page, keys)
            except (VacpanelError, duckdb.Error, OSError) as error:
                logger.exception("%s could not be exported", type(self).__name__)
                head.give(failed=str(error))
                return
            head.give(name=name, type=mime, data=base64.b64encode(content).decode())

        pn.state.execute(give)

    def _file(self, wanted: str, page: str = "", shown: Sequence[str] = ()) -> tuple[str, str, bytes]:
        if wanted == "act":
            return self.act(page)
        buffer = io.BytesIO()
        if wanted == "svg":
            drawing = self.svg(shown)
            if not drawing:
                raise UserError("Nothing is shown here that could be drawn.")
            buffer.write(drawing.encode())
        elif wanted == "csv":
            self.data().write_csv(buffer)
        else:
            self.data().write_parquet(buffer)
        return f"{file_stem(type(self).__name__)}.{wanted}", FORMATS[wanted], buffer.getvalue()


def file_stem(name: str) -> str:
    """Return the name of a view as files are named: ``ModelBars`` is ``vacpanel-model-bars``."""
    return "vacpanel-" + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


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
