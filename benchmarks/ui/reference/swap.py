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

from benchmarks.ui.reference.facts import HALF, ONE_TAP, Facts

CODE = Path(__file__).with_name("swap.js").read_text(encoding="utf-8")
WIDTH, HEIGHT = 330, 400


def page(facts: Facts) -> str:
    """Return the page as HTML."""
    classes, everything = len(facts.root), np.ones(len(facts.root), bool)
    rates, of_root, spokes = facts.rates(), facts.by_root(everything), facts.spokes()
    mapper = LinearColorMapper(palette=facts.colors, low=-0.5, high=len(facts.colors) - 0.5)
    color: dict[str, Any] = {"field": "root", "transform": mapper}

    scatter = ColumnDataSource(
        {"model": facts.models, "x": facts.parameters, "y": facts.right.sum(axis=1) / facts.images.sum(axis=1)}
    )
    ring = ColumnDataSource({"x": facts.parameters[:1], "y": scatter.data["y"][:1]})
    a1 = _figure(tools="tap,box_select", x_axis_type="log")
    a1.scatter("x", "y", source=ring, size=22, fill_alpha=0, line_width=2)
    a1.scatter("x", "y", source=scatter, size=9, nonselection_fill_alpha=1, nonselection_line_alpha=1)

    closed = np.append(of_root, of_root[:, :1], axis=1)
    xs, ys = (closed * turn(np.append(spokes, 0)) for turn in (np.sin, np.cos))
    radar = ColumnDataSource({"model": facts.models, "xs": list(xs), "ys": list(ys)})
    pinned = ColumnDataSource({"x": xs[0], "y": ys[0]})
    dots = ColumnDataSource({"root": facts.roots, "x": np.sin(spokes), "y": np.cos(spokes)})
    a2 = _figure(tools="tap", x_range=(-1.3, 1.3), y_range=(-1.3, 1.3))
    a2.multi_line("xs", "ys", source=radar, line_alpha=0.4)
    a2.line("x", "y", source=pinned, line_width=3)
    a2.scatter("x", "y", source=dots, size=10, nonselection_fill_alpha=1)

    bars = ColumnDataSource(_ranked(facts, np.arange(classes), rates[0]))
    marks = ColumnDataSource({"x": [0.0], "y": [1.05]})
    a3 = _figure(height=HEIGHT // 2, x_range=(-1, classes), y_range=(0, 1.08))
    a3.quad("left", "right", "top", "bottom", source=bars, fill_color=color, line_alpha=0)
    a3.scatter("x", "y", source=marks, marker="inverted_triangle", size=10)

    members = np.flatnonzero(facts.root == 0)
    rootbars = ColumnDataSource(_ranked(facts, members, rates.mean(axis=0)))
    a4 = _figure(height=HEIGHT // 2, y_range=(0, 1.08))
    a4.quad("left", "right", "top", "bottom", source=rootbars, fill_color=color, line_alpha=0)

    graph = ColumnDataSource(
        {
            "class_id": np.arange(classes, dtype=np.int32),
            "root": facts.root.astype(np.uint8),
            "x": facts.x[0],
            "y": facts.y[0],
            "top1": rates[0].astype(np.float32),
            "alpha": np.full(classes, 0.95, np.float32),
        }
    )
    point = ColumnDataSource({"x": facts.x[0, :1], "y": facts.y[0, :1]})
    b = _figure(tools="tap,box_select", x_range=(-facts.limit, facts.limit), y_range=(-facts.limit, facts.limit))
    b.scatter("x", "y", source=graph, size=6, fill_color=color, fill_alpha="alpha", line_color=None).update(
        nonselection_glyph=None, selection_glyph=None
    )
    b.scatter("x", "y", source=point, size=18, fill_alpha=0, line_width=2.5)

    flat = {name: getattr(facts, name).ravel() for name in ("images", "right", "x", "y")}
    args: dict[str, Any] = {
        "facts": ColumnDataSource({k: v.astype(np.float32 if k in "xy" else np.int32) for k, v in flat.items()}),
        "models": len(facts.models),
        "classes": classes,
        "half": HALF,
        "one_tap": ONE_TAP,
        "root": facts.root.tolist(),
        "spokes": spokes.tolist(),
        "scatter": scatter,
        "ring": ring,
        "radar": radar,
        "pinned": pinned,
        "bars": bars,
        "marks": marks,
        "rootbars": rootbars,
        "graph": graph,
        "point": point,
    }
    for what, source in {"model": scatter, "root": dots, "class": graph}.items():
        source.selected.js_on_change("indices", CustomJS(args=args | {"what": what}, code=CODE))
    views = {"scatter": a1, "radar": a2, "modelbars": a3, "rootbars": a4, "distribution": b}
    framed = {name: column(plot, css_classes=["vac-view", f"vac-{name}"]) for name, plot in views.items()}
    parts = framed["scatter"], framed["radar"], column(framed["modelbars"], framed["rootbars"]), framed["distribution"]
    return file_html(row(*parts), resources=INLINE, title="swap")


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
