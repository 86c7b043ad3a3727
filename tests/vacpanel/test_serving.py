"""What a server process holds once, and where it computes explanations."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from vacpanel import serving
from vacpanel.serving import explain_where
from warehouse.errors import UserError


@pytest.mark.parametrize(
    ("asked", "where"),
    [(None, "shared"), ("local", "local"), ("shared", "shared"), ("tcp://gpu:8786", "tcp://gpu:8786")],
)
def test_where_explanations_are_computed(asked, where):
    assert explain_where(asked) == where


def test_without_unix_sockets_the_server_computes_itself(monkeypatch):
    monkeypatch.delattr("socket.AF_UNIX")
    assert explain_where(None) == "local"


def test_an_unknown_place_is_refused():
    with pytest.raises(UserError, match="not on 'moon'"):
        explain_where("moon")


def test_the_service_is_where_the_server_was_told(demo_warehouse, monkeypatch):
    from etl.explain.engine import LocalEngine
    from etl.explain.shared import SharedEngine

    opened = serving.open_warehouse(demo_warehouse)
    service = serving.explanation_service(opened)
    assert isinstance(service._engine, LocalEngine)
    assert serving.explanation_service(opened) is service
    serving.close_all()
    monkeypatch.setenv(serving.EXPLAIN_VARIABLE, "shared")
    service = serving.explanation_service(serving.open_warehouse(demo_warehouse))
    assert isinstance(service._engine, SharedEngine)


def test_what_a_process_has_loaded_is_not_looked_at_again():
    code = """
import gc, weakref
from vacpanel import serving
class Loop: pass
gone = Loop()
gone.me, gone = gone, weakref.ref(gone)
serving.settle()
assert gone() is None
assert gc.get_threshold() == (700, 10, serving.COLLECT_AFTER)
frozen = gc.get_freeze_count()
serving.settle()
assert frozen == gc.get_freeze_count() > 10_000, frozen
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_service_is_made_ready_for_who_will_ask(demo_warehouse, monkeypatch):
    monkeypatch.setattr(serving, "_services", {})
    opened = serving.open_warehouse(demo_warehouse)
    serving.explain_soon(opened)
    for _ in range(600):
        if opened.root in serving._services:
            break
        time.sleep(0.1)
    with serving._services[opened.root] as ready:
        assert serving.explanation_service(opened) is ready
        serving.explain_soon(opened)
        assert serving._services == {opened.root: ready}


def test_a_cluster_that_does_not_answer_is_asked_by_one_at_a_time(demo_warehouse, monkeypatch):
    asked, answer = [], threading.Event()

    def connect(folder, place):
        asked.append(place)
        assert answer.wait(60)
        raise UserError("No cluster answers.")

    monkeypatch.setattr("etl.explain.service.connect", connect)
    monkeypatch.setattr(serving, "_services", {})
    monkeypatch.setattr(serving, "_coming", set())
    monkeypatch.setenv(serving.EXPLAIN_VARIABLE, "tcp://gpu:8786")
    opened = serving.open_warehouse(demo_warehouse)
    for times in (1, 2):
        answer.clear()
        for _ in range(3):
            serving.explain_soon(opened)
            assert serving.explains(opened)
        answer.set()
        for _ in range(600):
            if not serving.explains(opened):
                break
            time.sleep(0.1)
        assert not serving.explains(opened)
        assert asked == ["tcp://gpu:8786"] * times
