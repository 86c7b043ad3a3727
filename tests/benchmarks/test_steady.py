"""The users of the benchmark do what they say, and hear what comes of it."""

from __future__ import annotations

import pytest

from benchmarks.served import dashboard
from benchmarks.steady import LONG, User
from benchmarks.ui.plots import INTERACTIONS
from benchmarks.visitor import VisitorError
from tests.vacpanel.loops import in_a_loop
from vacpanel import link
from vacpanel.state import Selection


@pytest.fixture(scope="module")
def served(demo_warehouse, tmp_path_factory):
    with dashboard(demo_warehouse, tmp_path_factory.mktemp("served") / "log.txt") as served:
        yield served
        assert not served.flaws()


def test_a_user_hears_what_changes(served):
    async def use():
        user = User(served.address, 5)
        await user.visitor.open()
        try:
            # Twice, as what is chosen the second time is known to be something else: all its views have to change.
            for interaction in (*INTERACTIONS, *INTERACTIONS):
                assert await user.act(interaction) > 0, interaction.name
            return user.visitor.broken
        finally:
            await user.visitor.close()

    assert in_a_loop(use()) == []


def test_a_tap_without_an_answer_is_an_error(served, monkeypatch):
    model = INTERACTIONS[0]

    async def tap_twice():
        user = User(served.address, 5)
        await user.visitor.open()
        try:
            for _ in range(2):
                await user.act(model)
            monkeypatch.setattr("benchmarks.visitor.PATIENCE", 1.0)
            await user.visitor.select(model.marks, user._last[model.name], model.changes)
        finally:
            await user.visitor.close()

    with pytest.raises(VisitorError, match="did not change"):
        in_a_loop(tap_twice())


def test_the_long_task_is_understood():
    state = Selection()
    assert link.read(LONG, state) == []
    assert state.parameters["bbmp"]["iterations"] == 100_000
