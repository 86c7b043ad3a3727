"""The plug-in door, with good, broken and doubled plug-ins."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from importlib.metadata import entry_points as installed

import pytest

from etl import plugins


def entry(name, value, group=plugins.MODELS):
    return EntryPoint(name, value, group)


@pytest.fixture
def door(monkeypatch):
    def install(*entries):
        monkeypatch.setattr(plugins, "entry_points", lambda group: [e for e in entries if e.group == group])
        plugins.plugins.cache_clear()

    yield install
    plugins.plugins.cache_clear()


def test_built_ins_come_through_the_door():
    assert {"torchvision", "demo", "efficientnet-lite", "timm", "python"} <= plugins.plugins(plugins.MODELS).keys()
    assert {"imagefolder", "demo"} <= plugins.plugins(plugins.DATASETS).keys()
    for group in (plugins.MODELS, plugins.DATASETS):
        assert all(e.dist.name == "vacpanel" for e in installed(group=group) if e.value.startswith("etl."))


def test_a_broken_plugin_does_not_disturb_the_others(door):
    door(entry("good", "collections:OrderedDict"), entry("bad", "nosuchpackage:Models"), entry("worse", "json:nothing"))
    assert list(plugins.plugins(plugins.MODELS)) == ["bad", "good", "worse"]
    assert plugins.load(plugins.MODELS, "good").__name__ == "OrderedDict"
    with pytest.raises(
        plugins.PluginError, match=r"'bad' .*nosuchpackage:Models.* cannot be loaded: ModuleNotFoundError"
    ):
        plugins.load(plugins.MODELS, "bad")
    with pytest.raises(plugins.PluginError, match="AttributeError"):
        plugins.load(plugins.MODELS, "worse")


def test_a_name_offered_twice_is_an_error_of_that_name_only(door):
    door(entry("twin", "json:loads"), entry("twin", "json:dumps"), entry("single", "json:load"))
    assert plugins.load(plugins.MODELS, "single").__name__ == "load"
    with pytest.raises(plugins.PluginError, match=r"'twin' .* is offered more than once, by json:dumps and json:loads"):
        plugins.load(plugins.MODELS, "twin")


def test_the_same_plugin_seen_twice_is_one(door):
    door(entry("one", "json:loads"), entry("one", "json:loads"))
    assert plugins.load(plugins.MODELS, "one").__name__ == "loads"


def test_an_unknown_name_lists_the_known_ones(door):
    door(entry("one", "json:loads"))
    with pytest.raises(plugins.PluginError, match=r"no plug-in 'two' .* there are: one"):
        plugins.load(plugins.MODELS, "two")
