"""The dashboard: store + state + views, composed into one page."""

from __future__ import annotations

import asyncio
import sys
from copy import copy
from typing import TYPE_CHECKING, Any

import panel as pn
import param
from tqdm import tqdm

from etl.plugins import load, plugins
from vacpanel import notebook, serving
from vacpanel.choice import choose_defaults, open_link, restrict
from vacpanel.controller import Controller
from vacpanel.explained import ExplainedMaps
from vacpanel.notebook import hold
from vacpanel.selected import SelectedRows
from vacpanel.sidebar import TaskSidebar
from vacpanel.state import URL_KEYS, Selection
from vacpanel.views.filter_bar import FilterBar
from warehouse import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from panel.viewable import Viewable

    from vacpanel.views.base import View
    from warehouse import Warehouse

LOOK_EVERY = 1000  # ms between looks for a new generation: one readlink each
TOP, BOTTOM = 415, 390  # px heights of the two rows of views
FULL = 900  # px; what a higher window has beyond that is shared by the rows,
TOP_SHARE, BOTTOM_SHARE = 0.4, 0.6  # the lower one first: it has a table
TASK, TASK_WIDTH = 470, 215  # px height of the lower row where it has the task in it, and the width of that


class Dashboard(pn.viewable.Viewer):
    """The linked views of one warehouse.

    Parameters
    ----------
    path
        The warehouse folder, or the ``warehouse.duckdb`` in it.

    Examples
    --------
    In a notebook the last line of a cell displays it; in a script `servable` serves it.

    >>> from vacpanel import Dashboard
    >>> dashboard = Dashboard("demo-warehouse")  # doctest: +SKIP
    >>> dashboard.state.model = "demo:resnet18"  # doctest: +SKIP
    >>> dashboard.selection.frame  # doctest: +SKIP
    >>> dashboard.explain(models=["demo:resnet18", "demo:alexnet"], images=[7]).maps  # doctest: +SKIP
    """

    state = param.ClassSelector(class_=Selection, doc="The selection, shared by all views.")

    def __init__(self, path: str | Path, **params: Any) -> None:
        notebook.prepare()
        self.warehouse: Warehouse = serving.open_warehouse(path)
        self.warehouse.refresh()
        super().__init__(state=params.pop("state", None) or Selection(generation=self.warehouse.generation), **params)
        self._seen, self._inputs = self.warehouse.generation, self._data_fingerprint()
        choose_defaults(self.warehouse, self.state)
        self.controller = Controller.of(self.warehouse, self.state)
        self.views: dict[str, View] = {}
        for name in plugins("vacpanel.views"):
            self.views[name] = load("vacpanel.views", name)(self.warehouse, self.state)
        self.filter_bar = FilterBar(self.warehouse, self.state)
        self.task = TaskSidebar(self.warehouse, self.state)
        self._layout: Viewable | None = None

    @property
    def selection(self) -> SelectedRows:
        """The selected predictions: ``.frame`` for polars, ``.relation`` for DuckDB, ``.sql`` to take along."""
        return SelectedRows(self.warehouse, self.state)

    def explain(
        self,
        models: str | Sequence[str] | None = None,
        images: int | Sequence[int] | None = None,
        methods: str | Sequence[str] | None = None,
        *,
        classes: int | Sequence[int] | None = None,
        target: str | int | None = None,
        parameters: dict[str, dict[str, Any]] | None = None,
        progress: bool = True,
    ) -> ExplainedMaps:
        """Explain what is selected, or what is given, and wait for it.

        What is not given is taken from `state`. The dashboard's own table shows the maps, too, if it was the state
        that was explained.

        Parameters
        ----------
        models
            Names of models, such as ``"demo:resnet18"``.
        images
            Image ids.
        methods
            Names of methods, such as ``"score-cam"``; ``vacpanel methods`` lists them.
        classes
            Class ids: their images are explained where no image is given.
        target
            The class to explain: ``"predicted"``, ``"true"`` or a class id.
        parameters
            Parameters of the methods that differ from the published ones, by method.
        progress
            Whether a bar says how far the work is.

        Returns
        -------
        ExplainedMaps
            ``.maps``, a list of arrays; ``.frame``, a polars frame that says what each is; ``.heatmap(row)``.

        Raises
        ------
        UserError
            If something is not known, or nothing is selected; the sentence says what is missing.
        """
        given = {
            "models": _listed(models),
            "images": _listed(images),
            "methods": _listed(methods),
            "classes": _listed(classes),
            "target": None if target is None else str(target),
            "parameters": parameters,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if "classes" in given and "images" not in given:
            given["images"] = []
        state = Selection(**{name: copy(getattr(self.state, name)) for name in URL_KEYS} | given)
        if notices := restrict(self.warehouse, state):
            raise UserError(" ".join(notices))
        out = sys.stdout if notebook.within() else sys.stderr  # which JupyterLab paints as an error
        with tqdm(desc="Explaining", unit="map", disable=not progress, file=out) as bar:

            def tell(done: float, total: int) -> None:
                bar.total, bar.n = total, round(done, 2)
                bar.refresh()

            rows = Controller(self.warehouse, state).finish(tell)
        if not given:
            self._show_in_table()
        return ExplainedMaps(self.warehouse, rows, state.threshold)

    def _show_in_table(self) -> None:
        """Let the page ask for what was just explained: the answers come from the cache."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:  # a script, without a page
            return
        self._showing = running.create_task(self.controller.run())

    def reset(self) -> None:
        """Show what a first visit shows."""
        with hold():
            self.controller.clear()
            self.go("")

    def look(self) -> None:
        """Show a newer generation of the warehouse if there is one (called every second on a server)."""
        self.warehouse.refresh()
        if self.warehouse.generation == self._seen:
            return
        self._seen, before, self._inputs = self.warehouse.generation, self._inputs, self._data_fingerprint()
        if self._inputs != before:  # else only explanations were added, and nobody's zoom should be lost to that
            with hold():
                self.state.generation = self.warehouse.generation
                choose_defaults(self.warehouse, self.state)

    def _data_fingerprint(self) -> str:
        [(inputs,)] = self.warehouse.sql("SELECT inputs FROM store.generation").fetchall()
        return str(inputs)

    def go(self, query: str) -> list[str]:
        """Show what a link says and nothing else; return a sentence for everything in it that cannot be shown."""
        wanted = Selection(generation=self.state.generation)
        notices = open_link(self.warehouse, query, wanted)
        self.state.param.update(**{name: getattr(wanted, name) for name in URL_KEYS})
        return notices

    def read_link(self, query: str) -> list[str]:
        """Select what a link says; return a sentence for everything in it that cannot be shown."""
        return open_link(self.warehouse, query, self.state)

    def _slot(self, slot: str) -> list[View]:
        return [view for view in self.views.values() if view.slot == slot]

    def __panel__(self) -> Viewable:
        """Return the views in their places, and the task beside the explanations."""
        if self._layout is None:
            task = pn.Column(self.task, width=TASK_WIDTH, sizing_mode="stretch_height", margin=0, scroll="y-auto")
            self._layout = self._arranged([task], _high(TOP), _high(TASK))
        return self._layout

    def without_task(self) -> Viewable:
        """Return the views in their places, for a page that shows `task` elsewhere."""
        if self._layout is None:
            self._layout = self._arranged([], _growing(TOP, TOP_SHARE), _growing(BOTTOM, BOTTOM_SHARE))
        return self._layout

    def _arranged(self, task: list[Viewable], above: dict[str, Any], below: dict[str, Any]) -> Viewable:
        """Return the overview above, the explanations and what supplements them below."""
        known = ("A1", "A2", "A3", "A4", "B", "D", "E")
        extra = [view for view in self.views.values() if view.slot not in known]
        bars = pn.Column(*self._slot("A3"), *self._slot("A4"), sizing_mode="stretch_both", margin=0)
        top = [
            *_weigh(self._slot("A1"), 1.0),
            *_weigh(self._slot("A2"), 1.0),
            *_weigh([bars], 1.05),
            *_weigh(self._slot("B"), 1.1),
        ]
        low = [*task, *_weigh(self._slot("D"), 3.0), *_weigh(self._slot("E"), 1.15)]
        rows = [
            self.filter_bar,
            pn.Row(*top, sizing_mode="stretch_width", margin=0, **above),
            pn.Row(*low, sizing_mode="stretch_width", margin=0, **below),
        ]
        if extra:
            rows.append(pn.Row(*_weigh(extra, 1.0), sizing_mode="stretch_width", margin=0, **above))
        # The rows say how high a view is, which else keeps to what is legible when it stands alone.
        return pn.Column(*rows, sizing_mode="stretch_width", margin=0, styles={"--vac-least": "0"})


def _high(least: int) -> dict[str, Any]:
    """Return how a row is said to have a height."""
    return {"height": least}


def _growing(least: int, share: float) -> dict[str, Any]:
    """Return the same of a row that grows with the browser's window, which a notebook's output is not."""
    return {"height": least, "styles": {"min-height": f"calc({least}px + {share} * max(0px, 100vh - {FULL}px))"}}


def _listed(value: Any) -> list[Any] | None:
    """Return one value, or several, as a list."""
    if value is None:
        return None
    return [value] if isinstance(value, str | int) else list(value)


def _weigh(items: list[Any], weight: float) -> list[Viewable]:
    """Give items a share of their row's width."""
    return [
        pn.Column(item, sizing_mode="stretch_both", margin=0, styles={"flex": f"{weight} 1 0", "min-width": "0"})
        for item in items
    ]
