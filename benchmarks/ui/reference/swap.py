"""The lower bound: all models' data in the browser, a tap puts other arrays into the plots, no server has a part in it.

``python -m benchmarks.ui.reference.swap WAREHOUSE --port N`` serves the page under ``/app``.
"""

from __future__ import annotations

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJS, LinearColorMapper
from bokeh.plotting import figure
from bokeh.resources import INLINE

from benchmarks.ui.reference.facts import HALF, MOST, ONE_TAP, Facts
from vacpanel.palette import MODEL_COLORS

CODE = Path(__file__).with_name("swap.js").read_text(encoding="utf-8")
WIDTH, HEIGHT = 280, 400


Part = tuple[Any, dict[str, ColumnDataSource]]
"""A plot, and the sources that a tap changes."""


def page(facts: Facts) -> str:
    """Return the page as HTML."""
    parts = {
        "scatter": _scatter(facts),
        "radar": _radar(facts),
        "modelbars": _model_bars(facts),
        "rootbars": _root_bars(facts),
        "distribution": _graph(facts),
        "supplement": _models_on_classes(facts),
    }
    flat = {name: getattr(facts, name).ravel() for name in ("images", "right", "x", "y")}
    args: dict[str, Any] = {
        "facts": ColumnDataSource({k: v.astype(np.float32 if k in "xy" else np.int32) for k, v in flat.items()}),
        "models": len(facts.models),
        "classes": len(facts.root),
        "half": HALF,
        "one_tap": ONE_TAP,
        "most": MOST,
        "root": facts.root.tolist(),
        "roots": facts.roots,
        "spokes": facts.spokes().tolist(),
        "palette": MODEL_COLORS,
    }
    for _, sources in parts.values():
        args |= sources
    for what, name in {"model": "scatter", "root": "dots", "class": "graph"}.items():
        args[name].selected.js_on_change("indices", CustomJS(args=args | {"what": what}, code=CODE))
    framed = {name: column(plot, css_classes=["vac-view", f"vac-{name}"]) for name, (plot, _) in parts.items()}
    bars = column(framed.pop("modelbars"), framed.pop("rootbars"))
    return file_html(row(bars, *framed.values()), resources=INLINE, title="swap")


def _scatter(facts: Facts) -> Part:
    top1 = facts.right.sum(axis=1) / facts.images.sum(axis=1)
    scatter = ColumnDataSource({"model": facts.models, "x": facts.parameters, "y": top1})
    labels = ColumnDataSource({"x": facts.parameters, "y": top1, "text": facts.labels()})
    ring = ColumnDataSource({"x": facts.parameters[:1], "y": top1[:1]})
    plot = _figure(tools="tap,box_select", x_axis_type="log")
    plot.scatter("x", "y", source=ring, size=22, fill_alpha=0, line_width=2)
    plot.scatter("x", "y", source=scatter, size=9, nonselection_fill_alpha=1, nonselection_line_alpha=1)
    plot.text("x", "y", "text", source=labels, x_offset=8, text_font_size="8.5pt", text_baseline="middle")
    return plot, {"scatter": scatter, "ring": ring, "labels": labels}


def _radar(facts: Facts) -> Part:
    everything, spokes = np.ones(len(facts.root), bool), facts.spokes()
    of_root = facts.by_root(everything)
    closed = np.append(of_root, of_root[:, :1], axis=1)
    xs, ys = (closed * turn(np.append(spokes, 0)) for turn in (np.sin, np.cos))
    x, y = np.sin(spokes), np.cos(spokes)
    text = [f"{root}\n{n}" for root, n in zip(facts.roots, facts.images_by_root(everything), strict=True)]
    sources = {
        "radar": ColumnDataSource({"model": facts.models, "xs": list(xs), "ys": list(ys)}),
        "pinned": ColumnDataSource({"x": xs[0], "y": ys[0]}),
        "corners": ColumnDataSource({"x": xs[0, :-1], "y": ys[0, :-1]}),
        "spoke": ColumnDataSource({"xs": [[0, x[0]]], "ys": [[0, y[0]]]}),
        "names": ColumnDataSource({"x": 1.12 * x, "y": 1.12 * y, "text": text}),
        "dots": ColumnDataSource({"root": facts.roots, "x": x, "y": y, "size": [15] + [9] * (len(spokes) - 1)}),
    }
    plot = _figure(tools="tap", x_range=(-1.3, 1.3), y_range=(-1.3, 1.3))
    plot.multi_line("xs", "ys", source=sources["spoke"], line_width=2.5)
    plot.multi_line("xs", "ys", source=sources["radar"], line_alpha=0.4)
    plot.line("x", "y", source=sources["pinned"], line_width=3)
    plot.scatter("x", "y", source=sources["corners"], size=5)
    plot.text("x", "y", "text", source=sources["names"], text_font_size="8.5pt", text_align="center")
    plot.scatter("x", "y", source=sources["dots"], size="size", nonselection_fill_alpha=1)
    return plot, sources


def _model_bars(facts: Facts) -> Part:
    classes = len(facts.root)
    bars = ColumnDataSource(_ranked(facts, np.arange(classes), facts.rates()[0]))
    marks = _nothing()
    plot = _figure(height=HEIGHT // 2, x_range=(-1, classes), y_range=(0, 1.08))
    plot.quad("left", "right", "top", "bottom", source=bars, fill_color=_by_root(facts), line_alpha=0)
    plot.scatter("x", "y", source=marks, marker="inverted_triangle", size=10)
    return plot, {"bars": bars, "marks": marks}


def _root_bars(facts: Facts) -> Part:
    rates = facts.rates()
    ranked = _ranked(facts, np.flatnonzero(facts.root == 0), rates.mean(axis=0))
    of_members, place = rates[:, ranked["class_id"]], np.arange(len(ranked["class_id"]))
    ends = {"x0": place, "y0": of_members.min(axis=0), "x1": place, "y1": of_members.max(axis=0)}
    sources = {
        "rootbars": ColumnDataSource(ranked),
        "ranges": ColumnDataSource(ends),
        "own": ColumnDataSource({"x": place, "y": of_members[0]}),
        "rootmarks": _nothing(),
    }
    plot = _figure(height=HEIGHT // 2, y_range=(0, 1.08))
    plot.quad("left", "right", "top", "bottom", source=sources["rootbars"], fill_color=_by_root(facts), line_alpha=0)
    plot.segment("x0", "y0", "x1", "y1", source=sources["ranges"], line_width=1.5)
    plot.scatter("x", "y", source=sources["own"], size=2.5, fill_color="white", line_alpha=0)
    plot.scatter("x", "y", source=sources["rootmarks"], marker="inverted_triangle", size=10)
    return plot, sources


def _graph(facts: Facts) -> Part:
    classes = len(facts.root)
    graph = ColumnDataSource(
        {
            "class_id": np.arange(classes, dtype=np.int32),
            "root": facts.root.astype(np.uint8),
            "x": facts.x[0],
            "y": facts.y[0],
            "top1": facts.rates()[0].astype(np.float32),
            "alpha": np.full(classes, 0.95, np.float32),
            "size": np.full(classes, 6, np.float32),
        }
    )
    point, limit = _nothing(), (-facts.limit, facts.limit)
    plot = _figure(tools="tap,box_select", x_range=limit, y_range=limit)
    points = {"size": "size", "fill_color": _by_root(facts), "fill_alpha": "alpha", "line_color": None}
    plot.scatter("x", "y", source=graph, **points).update(nonselection_glyph=None, selection_glyph=None)
    plot.scatter("x", "y", source=point, size=18, fill_alpha=0, line_width=2.5)
    return plot, {"graph": graph, "point": point}


def _models_on_classes(facts: Facts) -> Part:
    lines, dots = ColumnDataSource({name: [] for name in ("x0", "y0", "x1", "y1")}), _nothing("color", "edge")
    plot = _figure(x_range=(-0.02, 1.04), y_range=(-0.6, len(facts.models) - 0.4))
    plot.segment("x0", "y0", "x1", "y1", source=lines)
    plot.scatter("x", "y", source=dots, size=8, fill_color="color", line_color="edge", line_width=2)
    return plot, {"lines": lines, "onclasses": dots}


def _nothing(*more: str) -> ColumnDataSource:
    return ColumnDataSource({name: [] for name in ("x", "y", *more)})


def _by_root(facts: Facts) -> dict[str, Any]:
    mapper = LinearColorMapper(palette=facts.colors, low=-0.5, high=len(facts.colors) - 0.5)
    return {"field": "root", "transform": mapper}


def _figure(tools: str = "", height: int = HEIGHT, **options: Any) -> Any:
    return figure(width=WIDTH, height=height, tools=tools, toolbar_location=None, output_backend="canvas", **options)


def _ranked(facts: Facts, ids: Any, rates: Any) -> dict[str, Any]:
    ids = ids[np.argsort(-rates[ids], kind="stable")].astype(np.int32)
    place, top = np.arange(len(ids), dtype=np.float32), rates[ids].astype(np.float32)
    return {
        "class_id": ids,
        "root": facts.root[ids].astype(np.uint8),
        "left": place - np.float32(HALF),
        "right": place + np.float32(HALF),
        "bottom": np.zeros_like(place),
        "top": top,
        "top1": top,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    content = page(Facts.of(options.warehouse)).encode()

    class Handler(BaseHTTPRequestHandler):
        """Answers every request with the one page."""

        def do_GET(self) -> None:
            """Send it."""
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
