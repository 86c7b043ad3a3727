"""What SQL says, and what each view shows compared with it."""

from __future__ import annotations

import math

import duckdb
import numpy as np

from tests.vacpanel.cross_filter.screen import (
    CORNERS,
    DOTS,
    GRAPH,
    MODEL_BARS,
    POLYGONS,
    RINGS,
    ROOT_BARS,
    SCATTER,
    SPOKES,
    SPREAD,
)
from vacpanel.views import supplement
from vacpanel.views.shown import is_shown


class Truth:
    """Answers of plain SQL to what each view asks, under a filter."""

    def __init__(self, folder):
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute(f"ATTACH '{folder / 'warehouse.duckdb'}' AS w (READ_ONLY)")
        # In memory: a thousand sequences ask some ten thousand questions.
        for table in ("predictions", "classes", "models", "images", "class_layout"):
            self.connection.execute(f"CREATE TABLE {table} AS FROM w.{table}")
        self.labels = dict(self.ask("SELECT model, label FROM models"))
        self.names = dict(self.ask("SELECT class_id, class_name FROM classes"))

    def ask(self, query):
        return self.connection.execute(query).fetchall()

    def table(self, query):
        """Return {first column: the others}."""
        return {row[0]: row[1:] for row in self.ask(query)}

    def where(self, filter_, *own):
        """Return the filter's own condition without those that a view leaves to be chosen from.

        Right and wrong do not restrict what a rate is of: they are what it counts.
        """
        return filter_.without("correct", *own).sql()


def hits(filter_):
    return ("NOT " if filter_.correct is False else "") + "correct"


def hits5(filter_):
    return "true_rank > 5" if filter_.correct is False else "true_rank <= 5"


def check_scatter(screen, truth):
    state = screen.state
    shown = screen.only(*SCATTER)
    expected = truth.table(
        f"SELECT model, count(*), avg(({hits(state.filter)})::INT), avg(({hits5(state.filter)})::INT) FROM predictions"
        f" WHERE {truth.where(state.filter, 'models')} GROUP BY model"
    )
    rows = [expected.get(str(model), (0, math.nan, math.nan)) for model in shown["model"]]
    assert list(shown["model"]) == screen.models
    assert list(shown["images"]) == [n for n, _, _ in rows]
    same(shown["top1"], [top1 for _, top1, _ in rows])
    same(shown["top5"], [top5 for _, _, top5 in rows])
    same(shown["y"], shown[state.accuracy])
    kept = state.filter.models or screen.models
    assert [alpha > 0.5 for alpha in shown["alpha"]] == [model in kept for model in screen.models]
    assert [line != "white" for line in shown["line"]] == [model in state.models for model in screen.models]


def check_radar(screen, truth):
    state = screen.state
    own = truth.where(state.filter, "models", "roots")
    expected = {
        (model, root): (top1, n)
        for model, root, top1, n in truth.ask(
            f"SELECT model, root_class, avg(({hits(state.filter)})::INT), count(*)"
            f" FROM predictions JOIN classes USING (class_id) WHERE {own} GROUP BY ALL"
        )
    }
    most = {root: max((expected.get((m, root), (0, 0))[1] for m in screen.models), default=0) for root in screen.roots}
    spokes = screen.only(*SPOKES)
    assert dict(zip(spokes["root"], map(int, spokes["images"]), strict=True)) == most
    # The outermost ring says what the radius 1 stands for.
    texts = [text for text in screen.sources(*RINGS) if all("%" in name for name in text["text"])]
    [rings] = texts
    full = float(rings["text"][list(rings["y"]).index(1.0)].removesuffix("%")) / 100
    polygons = screen.only(*POLYGONS)
    assert list(polygons["model"]) == [truth.labels[model] for model in screen.models]
    for model, xs, ys in zip(screen.models, polygons["xs"], polygons["ys"], strict=True):
        radii = full * np.hypot(xs, ys)
        same(radii[:-1], [expected.get((model, root), (math.nan, 0))[0] for root in screen.roots])
        same(radii[-1:], radii[:1])
    kept = state.filter.models or screen.models
    assert [alpha > 0.05 for alpha in polygons["alpha"]] == [model in kept for model in screen.models]
    corners = screen.only(*CORNERS)
    of = {state.model: 0, **dict.fromkeys(state.models)}
    wanted = [(model, root) for model in of if model for root in screen.roots]
    found = zip(corners["model"], corners["root"], strict=True)
    assert sorted(found) == sorted((truth.labels[model], root) for model, root in wanted)
    rates = {(truth.labels[m], root): expected.get((m, root), (math.nan, 0))[0] for m, root in wanted}
    same(corners["top1"], [rates[key] for key in zip(corners["model"], corners["root"], strict=True)])
    assert list(corners["images"]) == [most[root] for root in corners["root"]]


def check_model_bars(screen, truth):
    state = screen.state
    shown = screen.only(*MODEL_BARS)
    expected = truth.table(
        f"SELECT class_id, avg(({hits(state.filter)})::INT), count(*) FROM predictions"
        f" WHERE model = '{state.model}' AND {truth.where(state.filter, 'models')} GROUP BY ALL"
    )
    check_bars(screen, shown, expected)
    assert truth.labels[state.model] in screen.views["model-bars"].heading


def check_bars(screen, shown, expected):
    """Compare {class: (height, images)} with bars: where they stand, how high they are, what is marked."""
    ids = list(map(int, shown["class_id"]))
    assert sorted(ids) == sorted(expected)
    same(shown["top1"], [expected[i][0] for i in ids])
    assert screen.heights() == {"top1"}
    assert list(shown["images"]) == [expected[i][1] for i in ids]
    assert (np.diff(shown["top1"]) <= 1e-12).all()
    same((np.asarray(shown["left"]) + np.asarray(shown["right"])) / 2, range(len(ids)))


def check_root_bars(screen, truth):
    state = screen.state
    if not state.root:
        assert screen.sources(*ROOT_BARS) == []
        return
    shown = screen.only(*ROOT_BARS)
    rate = f"avg(({hits(state.filter)})::INT)"
    of_root = f"class_id IN (SELECT class_id FROM classes WHERE root_class = '{state.root}')"
    spread = truth.table(
        "SELECT class_id, avg(rate), max(n), min(rate), max(rate) FROM ("
        f"SELECT model, class_id, {rate} AS rate, count(*) AS n FROM predictions"
        f" WHERE {of_root} AND {truth.where(state.filter)} GROUP BY ALL) GROUP BY class_id"
    )
    check_bars(screen, shown, spread)
    ids = list(map(int, shown["class_id"]))
    same(shown["min_top1"], [spread[i][2] for i in ids])
    same(shown["max_top1"], [spread[i][3] for i in ids])
    own = truth.table(
        f"SELECT class_id, {rate} FROM predictions"
        f" WHERE model = '{state.model}' AND {of_root} AND {truth.where(state.filter, 'models')} GROUP BY ALL"
    )
    same(shown["own"], [own.get(i, (math.nan,))[0] for i in ids])


def check_graph(screen, truth):
    state = screen.state
    models = [state.model, *([state.second] if state.second else [])]
    shown = screen.sources(*GRAPH)
    assert len(shown) == len(models)
    roots = dict(truth.ask("SELECT class_id, root_class FROM classes"))
    for model in models:
        layout = truth.table(
            "SELECT class_id, x / r, y / r FROM class_layout, (SELECT sqrt(avg(x * x + y * y)) AS r FROM class_layout"
            f" WHERE model = '{model}') WHERE model = '{model}' ORDER BY class_id"
        )
        xs = [x for x, _ in layout.values()]
        found = [graph for graph in shown if np.allclose(graph["x"], xs, rtol=1e-4, atol=1e-6)]
        graph = found[0]
        same(graph["y"], [y for _, y in layout.values()], tolerance=1e-4)
        ids = list(map(int, graph["class_id"]))
        assert ids == list(layout)
        assert [screen.roots[root] for root in graph["root"]] == [roots[i] for i in ids]
        expected = truth.table(
            f"SELECT class_id, avg(({hits(state.filter)})::INT), count(*) FROM predictions WHERE model = '{model}'"
            f" AND {truth.where(state.filter, 'models', 'classes', 'images')} GROUP BY ALL"
        )
        same(graph["top1"], [expected.get(i, (math.nan,))[0] for i in ids], tolerance=1e-6)
        assert list(graph["images"]) == [expected.get(i, (0, 0))[1] for i in ids]
        left_out = [
            bool(state.filter.classes and i not in state.filter.classes)
            or bool(state.filter.roots and roots[i] not in state.filter.roots)
            for i in ids
        ]
        assert [alpha < 0.2 for alpha in graph["alpha"]] == left_out
        fore = [not state.root or roots[i] == state.root for i in ids]
        assert [alpha > 0.9 for alpha in graph["alpha"]] == [f and not o for f, o in zip(fore, left_out, strict=True)]


def check_supplement(screen, truth):
    state = screen.state
    rate = f"avg(({hits(state.filter)})::INT)"
    rates = (
        f"SELECT model, class_id, {rate} AS rate, count(*) AS n FROM predictions"
        f" WHERE {truth.where(state.filter)} GROUP BY ALL"
    )
    spread = truth.table(
        f"SELECT class_id, avg(rate), min(rate), max(rate), count(*) FROM ({rates}) GROUP BY ALL ORDER BY class_id"
    )
    view = screen.views["supplement"]
    page = view._chooser.value
    view._chooser.value = supplement.SPREAD  # out of sight it waits
    shown = screen.only(*SPREAD)
    half = len(shown["class_id"]) // 2
    for start, value in ((0, lambda row: row[0]), (half, lambda row: row[2] - row[1])):
        ids = [int(i) for i in shown["class_id"][start : start + half] if i >= 0]
        ranked = sorted(value(row) for row in spread.values())
        same([value(spread[i]) for i in ids], ranked if len(ranked) <= 6 else ranked[:3] + ranked[-3:])
        at = range(start, start + len(ids))
        for column, row in (("mean_top1", 0), ("min_top1", 1), ("max_top1", 2), ("models", 3)):
            same([shown[column][i] for i in at], [spread[i][row] for i in ids])
        lengths = [shown["right"][i] - shown["left"][i] for i in at]
        same(lengths, [value(spread[i]) for i in ids])
    view._chooser.value = page
    assert is_shown(view._on_classes.panel) == bool(state.classes)
    if not state.classes:
        assert view.heading == "Classes worth a look"
        return
    dots = screen.only(*DOTS)
    chosen = state.classes[-8:]
    expected = {
        (truth.labels[model], truth.names[class_id]): (top1, n)
        for model, class_id, top1, n in truth.ask(rates)
        if class_id in chosen
    }
    found = list(zip(dots["label"], dots["class_name"], strict=True))
    assert sorted(found) == sorted(expected)
    same(dots["x"], [expected[key][0] for key in found])
    assert list(dots["images"]) == [expected[key][1] for key in found]


def check_explanations(screen, truth):
    state = screen.state
    strip = screen.views["explanations"]._strip
    expected = []
    if state.classes:
        order = {class_id: place for place, class_id in enumerate(state.classes)}
        met = truth.ask(
            "SELECT image_id, class_id FROM images WHERE class_id IN"
            f" ({', '.join(map(str, state.classes))}) AND image_id IN"
            f" (SELECT image_id FROM predictions WHERE {state.filter.sql()})"
            " ORDER BY row_number() OVER (PARTITION BY class_id ORDER BY image_id), class_id"
        )
        assert strip.more == (len(met) > 48)
        left = sorted(met[:48], key=lambda row: (order[row[1]], row[0])) if not strip.more else None
        expected = [image_id for image_id, _ in left] if left is not None else None
    if expected is None:
        assert len(strip.items) == 48
    else:
        assert [item["id"] for item in strip.items] == expected
    assert strip.selected == state.images
    shown = [item["id"] for item in strip.items]
    right = {}
    if shown:
        right = dict(
            truth.ask(
                f"SELECT image_id, correct FROM predictions WHERE model = '{state.model}'"
                f" AND image_id IN ({', '.join(map(str, shown))})"
            )
        )
    assert strip.marks == {str(image_id): correct for image_id, correct in right.items()}


def check_filter_bar(screen, truth):
    bar, filter_ = screen.dashboard.filter_bar._bar, screen.state.filter
    assert bar.sql == f"SELECT * FROM predictions WHERE {filter_.sql()}"
    [(left,)] = truth.ask(f"SELECT count(*) FROM ({bar.sql})")
    assert int("".join(filter(str.isdigit, bar.counted.split(" of ")[0]))) == left
    assert bool(bar.chips) == bool(filter_)


def check_words(screen):
    """What is shown is called by its name."""
    rate = "error" if screen.state.filter.correct is False else "accuracy"
    top = {"top1": "Top-1", "top5": "Top-5"}[screen.state.accuracy]
    bars = 2 if screen.state.root else 1
    assert screen.labels_upwards() == sorted([f"{top} {rate}", *[f"Top-1 {rate}"] * bars])
    assert screen.views["scatter"].heading.startswith(f"{top} {rate} against parameters")
    assert screen.views["radar"].heading == f"Top-1 {rate} by root class"


def same(found, expected, tolerance=1e-7):
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), np.asarray(list(expected), dtype=float), rtol=0, atol=tolerance
    )
