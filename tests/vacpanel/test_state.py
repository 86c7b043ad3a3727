from __future__ import annotations

from urllib.parse import quote

import pytest

from vacpanel import link
from vacpanel.state import URL_KEYS, Selection
from warehouse.predicate import Predicate


def test_every_parameter_is_documented_and_every_chosen_one_has_a_url_key():
    parameters = set(Selection.param) - {"name"}
    assert all(Selection.param[name].doc for name in parameters)
    assert set(URL_KEYS) == parameters - {"generation"}


def test_selecting_a_class_forgets_the_images_of_the_class_before():
    state = Selection(classes=[3], images=[30, 31])
    state.select_class(4)
    assert (state.classes, state.images) == ([4], [])


def test_selecting_the_selected_class_keeps_its_images():
    state = Selection(classes=[3], images=[30])
    state.select_class(3)
    assert state.images == [30]


def test_toggle_is_its_own_inverse_and_makes_new_lists():
    state = Selection(models=["a"])
    before = state.models
    state.toggle_model("b")
    assert state.models == ["a", "b"]
    state.toggle_model("b")
    assert state.models == ["a"]
    assert before == ["a"]
    assert state.models is not before


def test_restrict_drops_the_unknown_and_names_it():
    state = Selection(model="gone", models=["kept", "lost"], root="animal", classes=[1, 99], methods=["magic"])
    notices = state.restrict(
        model=iter(["kept"]), root=["animal"], image=[], method=["grad-cam"], **{"class": iter([1])}
    )
    assert (state.model, state.models, state.root, state.classes) == ("", ["kept"], "animal", [1])
    assert state.method == "grad-cam"
    assert len(notices) == 4
    assert "'gone'" in notices[0]
    assert "'lost'" in notices[1]
    assert "99" in notices[2]


def test_reset_chooses_nothing_and_keeps_the_generation():
    state = Selection(model="m", models=["m"], root="r", classes=[1], images=[2], threshold=0.9, generation=7)
    state.reset()
    fresh = Selection(generation=7)
    assert {n: getattr(state, n) for n in URL_KEYS} == {n: getattr(fresh, n) for n in URL_KEYS}
    assert state.generation == 7


def test_a_link_says_everything_and_is_read_back():
    state = Selection(
        model="demo:a",
        models=["demo:a", "x:b"],
        root="tool",
        classes=[4, 2],
        images=[7],
        threshold=0.25,
        target="true",
        methods=["grad-cam", "bbmp"],
        filter=Predicate(
            models=("demo:a", "it's"), roots=("tool",), classes=(3,), images=(1, 2), correct=False, max_confidence=0.1
        ),
        second="x:b",
        graph="images",
    )
    again = Selection()
    assert link.read(link.write(state), again) == []
    assert {n: getattr(again, n) for n in URL_KEYS} == {n: getattr(state, n) for n in URL_KEYS}


def test_one_bad_value_in_a_link_costs_no_other_value():
    state = Selection()
    notices = link.read("?threshold=much&model=demo:a&classes=1,x&target=nobody&root=tool&unknown=1", state)
    assert len(notices) == 3
    assert (state.model, state.root, state.threshold, state.classes) == ("demo:a", "tool", 0.5, [])


def test_another_method_forgets_the_parameters_of_the_one_before():
    state = Selection(methods=["bbmp"], parameters={"bbmp": {"iterations": 40}})
    state.param.update(methods=["score-cam"], parameters={"score-cam": {"channels": 128}})
    assert state.parameters == {"score-cam": {"channels": 128}}
    state.methods = ["score-cam", "bbmp"]
    state.set_parameters("bbmp", {"seed": 3})
    assert state.parameters == {"score-cam": {"channels": 128}, "bbmp": {"seed": 3}}
    state.set_parameters("bbmp", {})
    assert state.parameters == {"score-cam": {"channels": 128}}
    state.method = "grad-cam"
    assert (state.methods, state.parameters) == (["grad-cam"], {})
    state.methods = []
    assert state.methods == ["grad-cam"]


@pytest.mark.parametrize(("text", "meant"), [("predicted", "predicted"), ("true", "true"), ("17", 17)])
def test_a_target_is_the_predicted_class_the_true_one_or_one_of_choice(text, meant):
    assert Selection(target=text).target_class == meant
    with pytest.raises(ValueError, match="target"):
        Selection(target="-1")


def test_a_chosen_target_class_has_to_exist():
    state = Selection(target="99")
    assert len(state.restrict(**{"class": [1, 2]})) == 1
    assert state.target == "predicted"


def test_a_link_carries_changed_parameters_of_the_method_in_any_order():
    state = Selection(methods=["score-cam"], parameters={"score-cam": {"weight": "probability", "channels": None}})
    written = link.write(state)
    for query in (written, "&".join(reversed(written.removeprefix("?").split("&")))):
        again = Selection(methods=["bbmp"], parameters={"bbmp": {"seed": 3}})
        assert link.read(query, again) == []
        assert (again.methods, again.parameters) == (state.methods, state.parameters)


@pytest.mark.parametrize("text", ["40", "[1]", "iterations", "{", '{"a":', "[" * 100_000, '{"bbmp": 3}'])
def test_parameters_that_cannot_be_read_give_a_notice(text):
    state = Selection()
    [notice] = link.read(f"?method=bbmp&parameters={quote(text)}", state)
    assert "parameters=" in notice
    assert (state.method, state.parameters) == ("bbmp", {})
