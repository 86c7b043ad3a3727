"""The link is the state: whatever is selected is read back from it, and whatever else it says is refused in words."""

from __future__ import annotations

from urllib.parse import parse_qs, parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vacpanel import link, serving
from vacpanel.dashboard import Dashboard
from vacpanel.state import ACCURACIES, COMPARISONS, COMPLEXITIES, GRAPHS, MEASURES, URL_KEYS, Selection
from warehouse.predicate import Predicate

# Names are other people's: anything but the comma that a link puts between them.
NAME = st.text(st.characters(exclude_characters=",", exclude_categories=("Cs",)), min_size=1, max_size=12)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ID = st.integers(0, 2**31 - 1)
SHARE = st.floats(0, 1)
METHOD = st.sampled_from(["grad-cam", "grad-cam++", "bbmp", "score-cam", "smooth-grad-cam++"])
VALUE = st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), TEXT)


def _some(values, most=4):
    return st.lists(values, max_size=most, unique=True)


def _tuple(values):
    return _some(values).map(tuple)


@st.composite
def states(draw):
    methods = draw(st.lists(METHOD, min_size=1, max_size=3, unique=True))
    given_ = {name: draw(st.dictionaries(TEXT, VALUE, max_size=3)) for name in methods}
    return {
        "model": draw(st.just("") | NAME),
        "models": draw(_some(NAME)),
        "root": draw(TEXT),
        "classes": draw(_some(ID)),
        "images": draw(_some(ID)),
        "methods": methods,
        "parameters": {name: values for name, values in given_.items() if values},
        "target": draw(st.sampled_from(["predicted", "true"]) | st.integers(0, 999_999_999).map(str)),
        "threshold": draw(SHARE),
        "measure": draw(st.sampled_from(MEASURES)),
        "filter": Predicate(
            models=draw(_tuple(TEXT)),
            roots=draw(_tuple(TEXT)),
            classes=draw(_tuple(ID)),
            images=draw(_tuple(ID)),
            correct=draw(st.sampled_from([None, True, False])),
            min_confidence=draw(st.none() | SHARE),
            max_confidence=draw(st.none() | SHARE),
        ),
        "complexity": draw(st.sampled_from(COMPLEXITIES)),
        "accuracy": draw(st.sampled_from(ACCURACIES)),
        "second": draw(st.just("") | NAME),
        "comparison": draw(st.sampled_from(COMPARISONS)),
        "graph": draw(st.sampled_from(GRAPHS)),
    }


def _of(state):
    return {name: getattr(state, name) for name in URL_KEYS}


DEFAULTS = _of(Selection())


@settings(max_examples=500, deadline=None)
@given(states(), st.randoms())
@example(DEFAULTS, None)
def test_whatever_is_selected_is_read_back_into_any_other_state(wanted, random):
    assert set(wanted) == set(URL_KEYS)
    state = Selection(**wanted)
    query = link.write(state)
    fresh = Selection()
    assert link.read(query, fresh) == []
    assert _of(fresh) == _of(state)
    assert link.write(fresh) == query
    # Defaults and empty choices are said, too: they replace what was selected before, in whatever order they come.
    assert set(parse_qs(query.removeprefix("?"), keep_blank_values=True)) == set(URL_KEYS.values())
    pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
    if random is not None:
        random.shuffle(pairs)
    used = Selection(
        model="m", models=["a"], root="r", classes=[1], images=[2], methods=["bbmp"], parameters={"bbmp": {"seed": 1}},
        target="true", threshold=0.1, measure="hash", filter=Predicate(correct=False, roots=("x",)), second="s",
        complexity="flops", accuracy="top5", comparison="movement", graph="images",
    )  # fmt: skip
    assert link.read(urlencode(pairs), used) == []
    assert _of(used) == _of(state)


BAD = {
    "classes": ["x", "1,two", "1.5", "٣x", "0x1"],
    "images": ["x", "1;2"],
    "parameters": ["{", "[]", "1", '"text"', '{"bbmp":1}', "null", "[" * 5000],
    "target": ["nobody", "-1", "1.5", "predicted,true", "1234567890", "true\n"],
    "threshold": ["", "much", "nan", "inf", "-0.1", "1.1", "1e400"],
    "measure": ["", "l2", "L1"],
    "where": ["{", "[]", "1", '{"models":"a"}', '{"classes":["1"]}', '{"classes":[true]}', '{"correct":1}',
              '{"min_confidence":"0.5"}', '{"min_confidence":NaN}', '{"nothing":1}', '{"images":[1.5]}', "null",
              '{"roots":[null]}', '{"max_confidence":true}', "[" * 5000],
    "x": ["", "price"],
    "y": ["", "top3"],
    "comparison": ["", "above"],
    "graph": ["", "roots"],
}  # fmt: skip
"""Values that cannot be read, by key of the link; any text is a name of a model, a root or a method."""


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in BAD.items() for text in texts])
def test_a_value_that_cannot_be_read_gives_one_notice_and_costs_no_other(key, text):
    wanted = Selection(
        model="m", models=["a", "b"], root="r", classes=[1], images=[2], methods=["bbmp"], threshold=0.25,
        measure="ssim", parameters={"bbmp": {"seed": 1}}, target="7", filter=Predicate(correct=True), second="s",
        complexity="flops", accuracy="top5", comparison="movement", graph="images",
    )  # fmt: skip
    said = dict(parse_qsl(link.write(wanted).removeprefix("?"), keep_blank_values=True)) | {key: text}
    fresh = Selection()
    [notice] = link.read(urlencode(said), fresh)
    assert f"{key}=" in notice
    assert notice.endswith("so it was left out.")
    [name] = [name for name, its_key in URL_KEYS.items() if its_key == key]
    assert _of(fresh) == _of(wanted) | {name: DEFAULTS[name]}


@pytest.fixture(scope="module")
def dashboard(demo_warehouse):
    yield Dashboard(demo_warehouse)
    serving.close_all()


@pytest.fixture(autouse=True)
def _no_leftovers():
    """Leave the warehouse open: these tests share one dashboard."""


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(sorted(URL_KEYS.values())),
        TEXT | st.sampled_from([text for texts in BAD.values() for text in texts]) | ID.map(str),
        min_size=1,
        max_size=6,
    )
)
def test_no_link_makes_the_dashboard_stumble_or_show_what_there_is_not(dashboard, given_):
    notices = dashboard.go(f"?{urlencode(given_)}")
    assert all(notice.endswith(".") and len(notice) < 500 for notice in notices)
    state, warehouse = dashboard.state, dashboard.warehouse
    models, roots = set(map(str, warehouse.models()["model"])), set(warehouse.roots())
    assert state.model in models | {""}
    assert state.root in roots | {""}
    # Nothing is pinned only if the link says so and all it says is known.
    assert state.model or (given_["model"] == "" and not notices)
    assert state.root or (given_["root"] == "" and not notices)
    assert set(state.models) | set(state.filter.models) | ({state.second} - {""}) <= models
    assert set(state.filter.roots) <= roots
    assert set(state.classes) | set(state.filter.classes) <= set(range(64))
    assert set(state.images) | set(state.filter.images) <= set(range(256))
    assert state.methods
    # What is shown has a link of its own, which is understood without a word.
    again = link.write(state)
    assert dashboard.go(again) == []
    assert link.write(state) == again


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
@example("?&&==&%%%&model&=x")
@example("?model=%FF%FE&root=%00&classes=%")
def test_text_that_is_no_query_at_all_is_borne(text):
    link.read(text, Selection())
