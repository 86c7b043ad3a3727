"""The plain way: streams set a state, every plot is a DynamicMap of it.

``python -m benchmarks.ui.reference.dynamic WAREHOUSE --port N`` serves the page under ``/app``.
"""

from __future__ import annotations

import argparse
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param

from benchmarks.ui.reference.facts import HALF, ONE_TAP, Facts


class Selection(param.Parameterized):
    """What is chosen, as numbers of models, root classes and classes."""

    model = param.Integer(default=0)
    root = param.Integer(default=0)
    chosen = param.List(default=[], item_type=int)
    kept = param.List(default=[], item_type=int)


class Plots(pn.viewable.Viewer):
    """Five linked plots."""

    state = param.ClassSelector(class_=Selection)

    def __init__(self, facts: Facts) -> None:
        super().__init__(state=Selection())
        self._facts = facts
        self._palette = dict(enumerate(facts.colors))

    def _kept(self) -> np.ndarray:
        every = np.arange(len(self._facts.root))
        return np.isin(every, self.state.kept) if self.state.kept else np.ones(len(every), bool)

    @param.depends("state.kept")
    def points(self) -> Any:
        """Return A1's models."""
        kept, facts = self._kept(), self._facts
        top1 = facts.right[:, kept].sum(axis=1) / facts.images[:, kept].sum(axis=1)
        columns = (facts.parameters, top1, facts.models)
        return hv.Points(columns, ["x", "y"], "model").opts(size=9, tools=["tap", "hover"])

    @param.depends("state.model", "state.kept")
    def ring(self) -> Any:
        """Return the ring around the pinned model."""
        kept, facts, m = self._kept(), self._facts, self.state.model
        top1 = facts.right[m, kept].sum() / facts.images[m, kept].sum()
        return hv.Points(([facts.parameters[m]], [top1])).opts(size=22, fill_alpha=0, line_width=2)

    @param.depends("state.model", "state.kept")
    def polygons(self) -> Any:
        """Return A2's lines, the pinned model's thick."""
        rates, spokes = self._facts.by_root(self._kept()), np.append(self._facts.spokes(), 0)
        closed = np.append(rates, rates[:, :1], axis=1)
        paths = [
            {"x": line * np.sin(spokes), "y": line * np.cos(spokes), "width": 3.0 if m == self.state.model else 1.0}
            for m, line in enumerate(closed)
        ]
        return hv.Contours(paths, ["x", "y"], "width").opts(line_width="width", color="#0072B2", alpha=0.5)

    def roots(self) -> Any:
        """Return the dots at the ends of the spokes."""
        x, y = np.sin(self._facts.spokes()), np.cos(self._facts.spokes())
        return hv.Points((x, y, self._facts.roots), ["x", "y"], "root").opts(size=10, tools=["tap", "hover"])

    @param.depends("state.model", "state.kept")
    def bars(self) -> Any:
        """Return A3."""
        return self._ranked(np.flatnonzero(self._kept()), self._facts.rates()[self.state.model])

    @param.depends("state.model", "state.chosen", "state.kept")
    def marks(self) -> Any:
        """Return the triangles over chosen classes."""
        rates, ids = self._facts.rates()[self.state.model], np.flatnonzero(self._kept())
        ids = ids[np.argsort(-rates[ids], kind="stable")]
        at = np.flatnonzero(np.isin(ids, self.state.chosen))
        return hv.Points((at, rates[ids[at]] + 0.05)).opts(marker="inverted_triangle", size=10)

    @param.depends("state.root", "state.kept")
    def root_bars(self) -> Any:
        """Return A4."""
        ids = np.flatnonzero((self._facts.root == self.state.root) & self._kept())
        return self._ranked(ids, self._facts.rates().mean(axis=0))

    def _ranked(self, ids: np.ndarray, rates: np.ndarray) -> Any:
        ids = ids[np.argsort(-rates[ids], kind="stable")]
        place = np.arange(len(ids))
        columns = (place - HALF, np.zeros(len(ids)), place + HALF, rates[ids], self._facts.root[ids], ids)
        return hv.Rectangles(columns, ["x0", "y0", "x1", "y1"], ["root", "class_id"]).opts(
            color="root", cmap=self._palette, line_alpha=0
        )

    @param.depends("state.model", "state.root")
    def graph(self) -> Any:
        """Return B's classes."""
        facts, m = self._facts, self.state.model
        alpha = np.where(facts.root == self.state.root, 0.95, 0.35)
        columns = (facts.x[m], facts.y[m], facts.root, np.arange(len(facts.root)), facts.rates()[m], alpha)
        return hv.Points(columns, ["x", "y"], ["root", "class_id", "top1", "alpha"]).opts(
            color="root",
            cmap=self._palette,
            alpha="alpha",
            size=6,
            line_color=None,
            tools=["tap", "box_select", "hover"],
        )

    @param.depends("state.model", "state.chosen")
    def circle(self) -> Any:
        """Return the ring around the chosen class."""
        facts, m = self._facts, self.state.model
        return hv.Points((facts.x[m, self.state.chosen], facts.y[m, self.state.chosen])).opts(
            size=18, fill_alpha=0, line_width=2.5
        )

    def _classes_chosen(self, index: list[int]) -> None:
        if 0 < len(index) <= ONE_TAP:
            self.state.chosen = index[-1:]
        elif index:
            self.state.kept = sorted(index)

    def __panel__(self) -> Any:
        """Return the plots side by side."""
        size = {"width": 330, "height": 400, "default_tools": [], "show_legend": False}
        points, roots, graph = hv.DynamicMap(self.points), self.roots(), hv.DynamicMap(self.graph)
        limit, half = self._facts.limit, size | {"height": 200}
        plots = {
            "scatter": (hv.DynamicMap(self.ring) * points).opts(logx=True, **size),
            "radar": (hv.DynamicMap(self.polygons) * roots).opts(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), **size),
            "modelbars": (hv.DynamicMap(self.bars) * hv.DynamicMap(self.marks)).opts(ylim=(0, 1.08), **half),
            "rootbars": hv.DynamicMap(self.root_bars).opts(ylim=(0, 1.08), framewise=True, **half),
            "distribution": (graph * hv.DynamicMap(self.circle)).opts(
                xlim=(-limit, limit), ylim=(-limit, limit), **size
            ),
        }
        for source, follow in (
            (points, lambda index: index and self.state.param.update(model=index[-1])),
            (roots, lambda index: index and self.state.param.update(root=index[-1])),
            (graph, self._classes_chosen),
        ):
            hv.streams.Selection1D(source=source).add_subscriber(follow)
        framed = {
            name: pn.Column(pn.pane.HoloViews(plot, linked_axes=False), css_classes=["vac-view", f"vac-{name}"])
            for name, plot in plots.items()
        }
        bars = pn.Column(framed["modelbars"], framed["rootbars"])
        return pn.Row(framed["scatter"], framed["radar"], bars, framed["distribution"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    hv.extension("bokeh", logo=False)
    hv.renderer("bokeh").webgl = False
    facts = Facts.of(options.warehouse)
    pn.serve({"app": lambda: Plots(facts)}, port=options.port, show=False)


if __name__ == "__main__":
    main()
