"""A selection made anywhere reaches every view: after any sequence of them, what the page has is what SQL says.

The views are drawn once, in one document; each sequence goes through the views' own handlers and starts with Reset.
Numbers are read from the document, as a browser gets them.
"""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import duckdb
import holoviews as hv
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import ColumnDataSource, GlyphRenderer, Quad
from bokeh.plotting import figure
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vacpanel.dashboard import Dashboard
from vacpanel.state import URL_KEYS
from vacpanel.views import supplement
from vacpanel.views.image_graph import ImageGraph
from vacpanel.views.shown import is_shown
from warehouse.predicate import Predicate

SEQUENCES = 1000

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


# A step is what a person does and what it is expected to do to the state, nothing else.


def tap_model(screen, picks):
    label = screen.only(*SCATTER)["model"]
    screen.mark(screen.views["scatter"]._pane.object, picks[0] % len(label))
    return {"model": screen.models[picks[0] % len(label)]}


def circle_models(screen, picks):
    rows = sorted({pick % len(screen.models) for pick in picks})
    screen.mark(screen.views["scatter"]._pane.object, *rows)
    chosen = [screen.models[row] for row in rows]
    return {"models": chosen, "filter.models": tuple(chosen)} if len(rows) > 1 else {"model": chosen[0]}


def click_family(screen, picks):
    family = screen.families[picks[0] % len(screen.families)]
    table = screen.dashboard.warehouse.models()
    members = [str(m) for m, f in zip(table["model"], table["family"], strict=True) if f == family]
    before = screen.state.models
    screen.views["scatter"]._family_clicked(family)
    others = [model for model in before if model not in members]
    return {"models": others if set(members) <= set(before) else others + members}


def click_legend(screen, picks):
    model = screen.models[picks[0] % len(screen.models)]
    before = screen.state.models
    screen.views["radar"]._chip_clicked(screen.dashboard.warehouse.model_row(model).label)
    return {"models": [m for m in before if m != model] if model in before else [*before, model]}


def tap_root(screen, picks):
    row = picks[0] % len(screen.roots)
    screen.mark(screen.views["radar"]._pane.object, row)
    return {"root": screen.roots[row]}


def click_root(screen, picks):
    root = screen.roots[picks[0] % len(screen.roots)]
    before = screen.state.root
    screen.views["distribution"]._chip_clicked(root)
    return {"root": "" if root == before else root}


def _of_class(before, ids):
    if not ids or before["classes"] == ids[-1:]:
        return {}
    return {"classes": ids[-1:], "images": []}


def _tap_class(view, columns):
    def tap(screen, picks):
        before = {"classes": screen.state.classes}
        if columns in (MODEL_BARS, ROOT_BARS) and not screen.sources(*columns):
            return {}
        element = screen.views["supplement"]._spread.panel[0].object if columns == SPREAD else None
        element = screen.views[view]._pane.object if element is None else element
        return _of_class(before, screen.mark_in(element, picks[:1], columns))

    return tap


def circle_classes(screen, picks):
    before = {"classes": screen.state.classes}
    graph = screen.views["distribution"]
    if not screen.sources(*GRAPH):
        return {}
    rows = sorted({pick % len(screen.classes) for pick in picks})
    screen.mark(graph._panes[0].object, *rows)
    ids = [screen.classes[row] for row in rows]
    if len(ids) == 1:
        return _of_class(before, ids)
    return {"classes": ids, "images": [], "filter.classes": tuple(ids), "filter.images": ()}


def pick_classes(screen, picks):
    ids = list(dict.fromkeys(pick % len(screen.classes) for pick in picks))
    if ids == screen.state.classes:
        return {}
    screen.sidebar._classes.value = list(map(str, ids))
    return {"classes": ids, "images": []}


def pick_models(screen, picks):
    models = list(dict.fromkeys(screen.models[pick % len(screen.models)] for pick in picks))
    screen.sidebar._models.value = models
    return {"models": models}


def pick_images(screen, picks):
    strip = screen.views["explanations"]._strip
    ids = [item["id"] for item in strip.items]
    chosen = list(dict.fromkeys(ids[pick % len(ids)] for pick in picks)) if ids else []
    strip.selected = chosen
    return {"images": chosen}


def circle_images(screen, picks):
    ids = sorted({pick % 256 for pick in picks})
    screen.views["distribution"]._images_brushed(ids)
    return {"filter.images": tuple(ids)}


def tap_dot(screen, picks):
    graph, found = screen.views["supplement"]._on_classes, screen.sources(*DOTS)
    if len(graph.panel) < 2 or not screen.state.classes or not len(found[0]["label"]):
        return {}
    row = picks[0] % len(found[0]["label"])
    label = found[0]["label"][row]
    screen.mark(graph.panel[1].object, row)
    table = screen.dashboard.warehouse.models()
    return {"model": str(table["model"][list(table["label"]).index(label)])}


def answers(screen, picks):
    said = ("", "right", "wrong")[picks[0] % 3]
    screen.ask(answers=said)
    return {"filter.correct": {"": None, "right": True, "wrong": False}[said]}


def bounds(screen, picks):
    low, high = ((None, *(i / 10 for i in range(11)))[pick % 12] for pick in (picks[0], picks[-1] // 12))
    screen.ask(bounds=[low, high])
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return {"filter.min_confidence": low, "filter.max_confidence": high}


def check_roots(screen, picks):
    roots = {screen.roots[pick % len(screen.roots)] for pick in picks}
    screen.ask(roots=list(roots))
    return {"filter.roots": tuple(root for root in screen.roots if root in roots)}


def check_models(screen, picks):
    models = {screen.models[pick % len(screen.models)] for pick in picks}
    screen.ask(models=list(models))
    return {"filter.models": tuple(model for model in screen.models if model in models)}


def lift(screen, picks):
    chips = screen.dashboard.filter_bar._bar.chips
    if not chips:
        return {}
    names, _ = chips[picks[0] % len(chips)]
    screen.ask(lift=names)
    return {f"filter.{name}": getattr(Predicate(), name) for name in names.split()}


def clear_filter(screen, picks):
    screen.ask(reset=True)
    return {"filter": Predicate()}


def choose_second(screen, picks):
    model = ["", *screen.models][picks[0] % (len(screen.models) + 1)]
    screen.views["distribution"]._other.value = model
    return {"second": model}


def choose_accuracy(screen, picks):
    screen.state.accuracy = ("top1", "top5")[picks[0] % 2]
    return {"accuracy": screen.state.accuracy}


STEPS = [
    tap_model,
    circle_models,
    click_family,
    click_legend,
    tap_root,
    click_root,
    _tap_class("model-bars", MODEL_BARS),
    _tap_class("root-bars", ROOT_BARS),
    _tap_class("supplement", SPREAD),
    circle_classes,
    pick_classes,
    pick_models,
    pick_images,
    circle_images,
    tap_dot,
    answers,
    bounds,
    bounds,
    check_roots,
    check_models,
    lift,
    clear_filter,
]
DRAWING = [choose_second, choose_accuracy]  # these draw plots anew, which takes a while


# -- what SQL says -----------------------------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def screen(demo_warehouse):
    with pytest.MonkeyPatch.context() as patch:
        # As on a server: the strip gets addresses of its pictures, not their contents.
        patch.setattr("vacpanel.media._served", True)
        yield Screen(demo_warehouse)


@pytest.fixture(scope="module")
def truth(demo_warehouse):
    return Truth(demo_warehouse)


@pytest.fixture(autouse=True)
def _no_leftovers():
    """Leave the warehouse open: these tests share one dashboard."""


@pytest.fixture(scope="module", autouse=True)
def _closed():
    yield
    from vacpanel import serving

    serving.close_all()


STEP = st.tuples(st.sampled_from(STEPS), st.lists(st.integers(0, 999), min_size=1, max_size=5))


@pytest.mark.slow
@pytest.mark.timeout(900)  # some 100 s where nothing else runs
@settings(
    max_examples=SEQUENCES,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(sequence=st.lists(STEP, min_size=1, max_size=3))
def test_after_any_sequence_of_selections_every_view_shows_what_sql_says(screen, truth, sequence):
    screen.dashboard.reset()
    now = screen.everything()
    assert [part for part, shown in now.items() if shown != screen.start[part]] == []
    for step, picks in sequence:
        expected = {name: getattr(screen.state, name) for name in URL_KEYS}
        for name, value in step(screen, picks).items():
            of, _, condition = name.partition(".")
            expected[of] = dataclasses.replace(expected[of], **{condition: value}) if condition else value
        assert {name: getattr(screen.state, name) for name in URL_KEYS} == expected
    check_scatter(screen, truth)
    check_radar(screen, truth)
    check_model_bars(screen, truth)
    check_root_bars(screen, truth)
    check_graph(screen, truth)
    check_supplement(screen, truth)
    check_explanations(screen, truth)
    check_filter_bar(screen, truth)
    check_words(screen)


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, database=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
)
@given(
    sequence=st.lists(STEP, max_size=2),
    axis=st.sampled_from(["top1", "top5"]),
    second=st.sampled_from(range(14)),
)
def test_other_axes_and_a_second_graph_show_what_sql_says(screen, truth, sequence, axis, second):
    screen.dashboard.reset()
    choose_second(screen, [second])
    choose_accuracy(screen, [axis == "top5"])
    for step, picks in sequence:
        step(screen, picks)
    check_scatter(screen, truth)
    check_graph(screen, truth)
    check_words(screen)


FILTERS = st.builds(
    Predicate,
    models=st.lists(st.sampled_from(["demo:resnet18", "demo:alexnet", "demo:densenet169"]), max_size=2).map(tuple),
    roots=st.lists(st.sampled_from(["animal", "tool", "vehicle"]), max_size=2).map(tuple),
    classes=st.lists(st.integers(0, 63), max_size=30).map(tuple),
    images=st.lists(st.integers(0, 255), max_size=60).map(tuple),
    correct=st.sampled_from([None, True, False]),
    min_confidence=st.sampled_from([None, 0.1, 0.5]),
    max_confidence=st.sampled_from([None, 0.4, 0.9]),
)


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(filter_=FILTERS, model=st.sampled_from(["", "demo:resnet18", "demo:alexnet", "demo:resnet152"]))
def test_the_graph_of_images_holds_those_that_sql_finds(screen, truth, image_graph, filter_, model):
    where = filter_.without("models") if model else filter_
    said = image_graph.show(model, where)
    expected = truth.ask(
        "SELECT model, image_id, class_id FROM predictions"
        f" WHERE ('{model}' = '' OR model = '{model}') AND {where.sql()} ORDER BY ALL"
    )
    points = image_graph._points
    found = zip(
        [screen.models[i] for i in points["model_id"]],
        points["image_id"],
        points["class_id"],
        points["root"],
        strict=True,
    )
    roots = dict(truth.ask("SELECT class_id, root_class FROM classes"))
    assert sorted(found) == [(*row, screen.roots.index(roots[row[-1]])) for row in expected]
    assert said.replace("\N{THIN SPACE}", "").split()[0] == str(len(expected))


@pytest.fixture(scope="module")
def image_graph(screen):
    graph = ImageGraph(screen.dashboard.warehouse, lambda *_: None, lambda _: None)
    graph._paint = lambda: None
    return graph
