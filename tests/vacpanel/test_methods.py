"""What the page says about methods without importing them is what they are."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from etl.plugins import METHODS, load, plugins
from vacpanel import methods
from warehouse import UserError

BUILT_IN = [name for name, plugin in plugins(METHODS).items() if plugin.origin == "vacpanel"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_title_and_price_are_those_of_the_class(name):
    method = load(METHODS, name)()
    passes = method.cost(method.Parameters(), methods.TYPICAL_CHANNELS)
    assert methods.title(name) == method.title
    assert methods.price(name) == methods.in_words(passes)


def test_a_list_shows_those_of_the_paper_first_and_what_they_cost():
    shown = methods.choices()
    assert list(shown.values())[:5] == ["grad-cam", "grad-cam++", "smooth-grad-cam++", "score-cam", "bbmp"]
    assert set(shown.values()) == set(plugins(METHODS))
    assert next(iter(shown)) == "Grad-CAM (about 1 forward pass)"
    assert "Score-CAM (takes long)" in shown


def test_a_list_of_methods_does_not_import_torch():
    code = "import sys; from vacpanel import methods; methods.choices(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_parameter_of_a_built_in_method_can_be_set_and_is_explained(name):
    parameters = load(METHODS, name).Parameters
    found = methods.options(name)
    assert [option.name for option in found] == [entry.name for entry in dataclasses.fields(parameters)]
    for option in found:
        assert option.help
        assert option.default == getattr(parameters(), option.name)
        assert isinstance(option.default, option.kind) or (option.default is None and option.may_be_none)


class Plugin:
    @dataclass(frozen=True)
    class Parameters:
        """Parameters.

        Parameters
        ----------
        steps, size
            How many, and
            how large.
        mode
            ``"a"`` or ``"b"``.
        """

        steps: int = 3
        size: float | None = None
        mode: Literal["a", "b"] | None = "a"
        exact: bool = True
        anything: Any = None


def test_options_follow_from_type_hints_and_docstring(monkeypatch):
    monkeypatch.setattr(methods, "load", lambda _group, _name: Plugin)
    both = "How many, and how large."
    assert methods.options("plug-in") == [
        methods.Option("steps", 3, int, help=both),
        methods.Option("size", None, float, may_be_none=True, help=both),
        methods.Option("mode", "a", str, ("a", "b"), may_be_none=True, help='"a" or "b".'),
        methods.Option("exact", True, bool),
    ]


def test_only_what_differs_from_the_published_values_is_kept():
    assert methods.check("bbmp", {"iterations": 40, "seed": 0, "l1": 1e-4}) == {"iterations": 40}


@pytest.mark.parametrize("values", [{"iterations": 0}, {"iterations": None}, {"steps": 4}])
def test_values_that_a_method_refuses(values):
    with pytest.raises(UserError, match=next(iter(values))):
        methods.check("bbmp", values)
