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

from benchmarks.ui.reference.facts import HALF, MOST, ONE_TAP, Facts

DYNAMIC = (
    *("points", "ring", "labels", "polygons", "corners", "spoke", "names", "roots", "bars", "marks"),
    *("root_bars", "ranges", "own", "root_marks", "graph", "circle", "models", "lines"),
)
"""Methods of `Plots` that are a DynamicMap each."""


class Selection(param.Parameterized):
    """What is chosen, as numbers of models, root classes and classes."""

    model = param.Integer(default=0)
    root = param.Integer(default=0)
    chosen = param.List(default=[], item_type=int)
    kept = param.List(default=[], item_type=int)


class Plots(pn.viewable.Viewer):
    """Six linked plots."""

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
        columns = (self._facts.parameters, self._top1(), self._facts.models)
        return hv.Points(columns, ["x", "y"], "model").opts(size=9, tools=["tap", "hover"])

    @param.depends("state.kept")
    def labels(self) -> Any:
        """Return A1's names."""
        columns = (self._facts.parameters, self._top1(), self._facts.labels())
        return hv.Labels(columns).opts(text_font_size="8.5pt", xoffset=8)

    def _top1(self) -> np.ndarray:
        kept, facts = self._kept(), self._facts
        return facts.right[:, kept].sum(axis=1) / facts.images[:, kept].sum(axis=1)

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

    @param.depends("state.model", "state.kept")
    def corners(self) -> Any:
        """Return the corners of the pinned model's line."""
        rates, spokes = self._facts.by_root(self._kept())[self.state.model], self._facts.spokes()
        return hv.Points((rates * np.sin(spokes), rates * np.cos(spokes))).opts(size=5)

    @param.depends("state.root")
    def spoke(self) -> Any:
        """Return the pinned root's spoke."""
        angle = self._facts.spokes()[self.state.root]
        return hv.Path([np.array([[0, 0], [np.sin(angle), np.cos(angle)]])]).opts(line_width=2.5)

    @param.depends("state.kept")
    def names(self) -> Any:
        """Return the names of the roots with their numbers of images."""
        facts, spokes = self._facts, self._facts.spokes()
        text = [f"{root}\n{n}" for root, n in zip(facts.roots, facts.images_by_root(self._kept()), strict=True)]
        return hv.Labels((1.12 * np.sin(spokes), 1.12 * np.cos(spokes), text)).opts(text_font_size="8.5pt")

    @param.depends("state.root")
    def roots(self) -> Any:
        """Return the dots at the ends of the spokes."""
        x, y = np.sin(self._facts.spokes()), np.cos(self._facts.spokes())
        size = np.where(np.arange(len(x)) == self.state.root, 15, 9)
        return hv.Points((x, y, self._facts.roots, size), ["x", "y"], ["root", "size"]).opts(
            size="size", tools=["tap", "hover"]
        )

    @param.depends("state.model", "state.kept")
    def bars(self) -> Any:
        """Return A3."""
        return self._ranked(np.flatnonzero(self._kept()), self._facts.rates()[self.state.model])

    @param.depends("state.model", "state.chosen", "state.kept")
    def marks(self) -> Any:
        """Return the triangles over chosen classes."""
        return self._marks(np.flatnonzero(self._kept()), self._facts.rates()[self.state.model])

    @param.depends("state.root", "state.kept")
    def root_bars(self) -> Any:
        """Return A4."""
        return self._ranked(self._members(), self._facts.rates().mean(axis=0))

    @param.depends("state.root", "state.kept")
    def ranges(self) -> Any:
        """Return A4's lines from the worst to the best model."""
        rates = self._facts.rates()
        ids = self._by_rank(self._members(), rates.mean(axis=0))
        place = np.arange(len(ids))
        return hv.Segments((place, rates[:, ids].min(axis=0), place, rates[:, ids].max(axis=0))).opts(line_width=1.5)

    @param.depends("state.model", "state.root", "state.kept")
    def own(self) -> Any:
        """Return the pinned model's dots in A4."""
        rates = self._facts.rates()
        ids = self._by_rank(self._members(), rates.mean(axis=0))
        return hv.Points((np.arange(len(ids)), rates[self.state.model, ids])).opts(size=2.5, color="white")

    @param.depends("state.root", "state.chosen", "state.kept")
    def root_marks(self) -> Any:
        """Return the triangles over chosen classes in A4."""
        return self._marks(self._members(), self._facts.rates().mean(axis=0))

    def _members(self) -> np.ndarray:
        return np.flatnonzero((self._facts.root == self.state.root) & self._kept())

    @staticmethod
    def _by_rank(ids: np.ndarray, rates: np.ndarray) -> np.ndarray:
        return ids[np.argsort(-rates[ids], kind="stable")]

    def _marks(self, ids: np.ndarray, rates: np.ndarray) -> Any:
        ids = self._by_rank(ids, rates)
        at = np.flatnonzero(np.isin(ids, self.state.chosen))
        return hv.Points((at, rates[ids[at]] + 0.05)).opts(marker="inverted_triangle", size=10)

    def _ranked(self, ids: np.ndarray, rates: np.ndarray) -> Any:
        ids = self._by_rank(ids, rates)
        place = np.arange(len(ids))
        columns = (place - HALF, np.zeros(len(ids)), place + HALF, rates[ids], self._facts.root[ids], ids)
        return hv.Rectangles(columns, ["x0", "y0", "x1", "y1"], ["root", "class_id"]).opts(
            color="root", cmap=self._palette, line_alpha=0
        )

    @param.depends("state.model", "state.root", "state.kept")
    def graph(self) -> Any:
        """Return B's classes."""
        facts, m, pinned = self._facts, self.state.model, self._facts.root == self.state.root
        alpha, size = np.where(self._kept(), np.where(pinned, 0.95, 0.35), 0.1), np.where(pinned, 8, 6)
        columns = (facts.x[m], facts.y[m], facts.root, np.arange(len(facts.root)), facts.rates()[m], alpha, size)
        return hv.Points(columns, ["x", "y"], ["root", "class_id", "top1", "alpha", "size"]).opts(
            color="root",
            cmap=self._palette,
            alpha="alpha",
            size="size",
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

    @param.depends("state.model", "state.chosen")
    def models(self) -> Any:
        """Return E's dots, one a model and class, the best model on top."""
        few, rates = self.state.chosen[-MOST:], self._facts.rates()
        order = np.argsort(rates[:, few].mean(axis=1), kind="stable") if few else np.empty(0, int)
        line, which = np.divmod(np.arange(len(order) * len(few)), max(len(few), 1))
        columns = (rates[order][:, few].ravel(), line, which, np.where(order[line] == self.state.model, "yes", "no"))
        return hv.Points(columns, ["x", "y"], ["which", "pinned"]).opts(
            color="which", cmap="Category10", size=8, line_color=hv.dim("pinned").categorize({"yes": "#E69F00"}, "gray")
        )

    @param.depends("state.chosen")
    def lines(self) -> Any:
        """Return E's lines from a model's worst chosen class to its best."""
        few = self.state.chosen[-MOST:]
        rates = self._facts.rates()[:, few] if few else np.empty((0, 1))
        rates = rates[np.argsort(rates.mean(axis=1), kind="stable")]
        rank = np.arange(len(rates))
        low = rates.min(axis=1) if len(few) > 1 else np.zeros(len(rates))
        return hv.Segments((low, rank, rates.max(axis=1), rank))

    def _classes_chosen(self, index: list[int]) -> None:
        if 0 < len(index) <= ONE_TAP:
            self.state.chosen = index[-1:]
        elif index:
            self.state.param.update(kept=sorted(index), chosen=sorted(index))

    def __panel__(self) -> Any:
        """Return the plots side by side."""
        size = {"width": 280, "height": 400, "default_tools": [], "show_legend": False}
        every = {name: hv.DynamicMap(getattr(self, name)) for name in DYNAMIC}
        points, roots, graph = every["points"], every["roots"], every["graph"]
        limit, half = self._facts.limit, size | {"height": 200}
        plots = {
            "scatter": (every["ring"] * points * every["labels"]).opts(logx=True, **size),
            "radar": (every["spoke"] * every["polygons"] * every["corners"] * every["names"] * roots).opts(
                xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), **size
            ),
            "modelbars": (every["bars"] * every["marks"]).opts(ylim=(0, 1.08), **half),
            "rootbars": (every["root_bars"] * every["ranges"] * every["own"] * every["root_marks"]).opts(
                ylim=(0, 1.08), framewise=True, **half
            ),
            "distribution": (graph * every["circle"]).opts(xlim=(-limit, limit), ylim=(-limit, limit), **size),
            "supplement": (every["lines"] * every["models"]).opts(
                xlim=(-0.02, 1.04), ylim=(-0.6, len(self._facts.models) - 0.4), **size
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
        bars = pn.Column(framed.pop("modelbars"), framed.pop("rootbars"))
        return pn.Row(bars, *framed.values())


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
