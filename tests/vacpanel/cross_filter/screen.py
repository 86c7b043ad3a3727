"""A dashboard drawn once in one document: hands for it, and what a browser would show of it."""

from __future__ import annotations

from types import SimpleNamespace

import holoviews as hv
import numpy as np
from bokeh.document import Document
from bokeh.models import ColumnDataSource, GlyphRenderer, Quad
from bokeh.plotting import figure

from vacpanel.dashboard import Dashboard
from vacpanel.state import URL_KEYS
from vacpanel.views.shown import is_shown

# The columns by which a source is known; those behind "!" it must not have.
SCATTER = ("model", "label", "family", "top1", "y")
POLYGONS = ("xs", "ys", "model", "alpha")
CORNERS = ("model", "root", "top1", "images")
SPOKES = ("root", "images", "size", "!model", "!class_id")
RINGS = ("text", "x", "y", "align", "baseline")
MODEL_BARS = ("class_id", "top1", "left", "!own", "!models")
ROOT_BARS = ("class_id", "own", "min_top1", "max_top1")
GRAPH = ("class_id", "row", "x", "y")
SPREAD = ("class_id", "mean_top1", "models")
DOTS = ("label", "class_name", "images", "x")
UNREAD = {"x0", "y0", "x1", "y1", "top"}  # HoloViews' own names for the corners of bars, which no glyph reads


class Screen:
    """A dashboard in a document, hands for it, and what a browser would show of it."""

    def __init__(self, folder):
        self.dashboard = Dashboard(folder)
        self.state = self.dashboard.state
        self.views = self.dashboard.views
        self.sidebar = self.dashboard.task
        self.document = Document()
        self.document.add_root(self.dashboard.__panel__().get_root(self.document))
        warehouse = self.dashboard.warehouse
        self.models = list(map(str, warehouse.models()["model"]))
        self.roots = warehouse.roots()
        self.classes = list(map(int, warehouse.classes()["class_id"]))
        self.families = sorted(set(map(str, warehouse.models()["family"])))
        self.start = self.everything()

    # -- hands -------------------------------------------------------------------------------------------------------

    def mark(self, element, *rows):
        """Say what the page says when marks are tapped, or are in a box or lasso."""
        if rows:
            [stream] = [stream for stream in hv.streams.Stream.registry[element] if "index" in stream.contents]
            stream.event(index=list(rows))

    def mark_in(self, view, picks, columns):
        """Tap or circle marks of a plot, `picks` counted around the marks that there are; return their class ids."""
        shown = self.only(*columns)
        ids = list(shown["class_id"])
        rows = sorted({pick % len(ids) for pick in picks}) if ids else []
        if columns == SPREAD:
            rows = [row for row in rows if ids[row] >= 0]
        self.mark(view, *rows)
        return [int(ids[row]) for row in rows]

    def ask(self, **message):
        """Send what the filter bar sends."""
        self.dashboard.filter_bar._asked(SimpleNamespace(data=message))

    # -- eyes --------------------------------------------------------------------------------------------------------

    def sources(self, *columns):
        wanted = {name for name in columns if not name.startswith("!")}
        barred = {name[1:] for name in columns if name.startswith("!")}
        return [
            source.data
            for source in self.document.models
            if isinstance(source, ColumnDataSource) and wanted <= set(source.data) and not barred & set(source.data)
        ]

    def only(self, *columns):
        [found] = self.sources(*columns)
        return found

    def labels_upwards(self):
        return sorted(
            str(axis.axis_label)
            for model in self.document.models
            if isinstance(model, figure)
            for axis in model.yaxis
            if str(axis.axis_label).startswith("Top-")
        )

    def heights(self):
        """Return the columns that bars of classes are drawn from."""
        drawn = [model for model in self.document.models if isinstance(model, GlyphRenderer)]
        bars = [one.glyph for one in drawn if isinstance(one.glyph, Quad) and "top1" in one.data_source.data]
        return {bar.top if isinstance(bar.top, str) else bar.top.field for bar in bars}

    def everything(self):
        """Return all that the page shows, comparable."""
        state = {name: getattr(self.state, name) for name in URL_KEYS}
        sources = {
            columns: [
                {name: repr(_plain(data[name])) for name in set(data) - UNREAD} for data in self.sources(*columns)
            ]
            for columns in (SCATTER, POLYGONS, CORNERS, SPOKES, RINGS, MODEL_BARS, ROOT_BARS, GRAPH, SPREAD)
        }
        sources[RINGS].sort(key=repr)
        bar, side, strip = self.dashboard.filter_bar._bar, self.sidebar, self.views["explanations"]._strip
        return {
            "state": state,
            "sources": sources,
            "labels": self.labels_upwards(),
            "headings": {name: view.heading for name, view in self.views.items()},
            "bar": (bar.chips, bar.chosen, bar.answers, bar.bounds, bar.sql, bar.counted),
            "strip": (strip.items, strip.selected, strip.marks, strip.more, is_shown(strip)),
            "sidebar": (side._models.value, side._classes.value, side._image.object, side._run.label),
            "chips": (self.views["radar"]._legend.items, self.views["distribution"]._legend.chosen),
        }


def _plain(column):
    return np.asarray(column).tolist() if not isinstance(column, list) else [_plain(v) for v in column if v is not None]
