"""One process that computes for all others: how it begins, how it ends, and what happens when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import wait
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import pytest

from etl.explain.meeting import Meeting
from etl.explain.requests import Request
from etl.explain.service import ExplanationService, connect
from etl.explain.shared import SharedEngine
from warehouse.errors import UserError
from warehouse.folder import Folder

WAIT = 90.0
LONG = {"iterations": 100_000}


@pytest.fixture
def warehouse_folder(built, tmp_path):
    """A warehouse of its own, at a path that is too long for a socket."""
    folder = tmp_path / ("long" * 30) / "w"
    shutil.copytree(built[0], folder, symlinks=True, ignore=shutil.ignore_patterns("explanations.sqlite*"))
    return folder


@pytest.fixture
def meeting(warehouse_folder):
    made = Meeting(Folder.at(warehouse_folder))
    yield made
    pid = made.pid()
    if pid is not None and _runs(pid):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def join(warehouse_folder, meeting):
    """Open services in the shared process."""
    made = []

    def build(grace=0.3):
        made.append(ExplanationService(warehouse_folder, engine=lambda at, _kept: SharedEngine(at, "cpu", grace=grace)))
        return made[-1]

    yield build
    for service in made:
        service.close()


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_process_for_all_and_it_ends_after_the_last(join, meeting, models, until):
    first, second = join(), join()
    assert meeting.pid() is None  # not before it is needed
    together = [service.request(Request(models[0], 1, target=0), client="same name") for service in (first, second)]
    assert together[0].result(WAIT).digest == together[1].result(WAIT).digest
    pid = meeting.pid()
    assert first.forwards == second.forwards == 1
    first.close()
    assert second.request(Request(models[0], 2, target=0)).result(WAIT).image_id == 2
    assert meeting.pid() == pid
    second.close()
    until(lambda: meeting.pid() is None)
    until(lambda: not _runs(pid))
    third = join()
    assert third.request(Request(models[0], 1, target=0)).result(0).cached
    assert third.request(Request(models[0], 3, target=0)).result(WAIT).image_id == 3
    assert meeting.pid() != pid


def test_only_the_owner_can_read_the_note_and_only_who_knows_the_key_can_join(join, meeting, models):
    service = join()
    service.request(Request(models[0], 1, target=0)).result(WAIT)
    assert stat.S_IMODE(meeting._note.stat().st_mode) == 0o600
    note = json.loads(meeting._note.read_text())
    assert stat.S_IMODE(Path(note["address"]).parent.stat().st_mode) == 0o700
    with pytest.raises(AuthenticationError):
        Client(note["address"], "AF_UNIX", authkey=b"guess")
    assert service.request(Request(models[0], 2, target=0)).result(WAIT).image_id == 2


def test_when_it_is_killed_requests_are_asked_again_of_a_new_one(join, meeting, models, until):
    service, heard = join(), []
    long = service.request(
        Request(models[0], 1, "bbmp", target=0, parameters=LONG), lambda *what: heard.append(what), client="one"
    )
    until(lambda: heard)
    pid = meeting.pid()
    heard.clear()
    os.kill(pid, signal.SIGKILL)
    until(lambda: heard)
    assert meeting.pid() != pid
    assert service.request(Request(models[0], 2, target=0), client="other").result(WAIT).image_id == 2
    assert not long.done()
    os.kill(meeting.pid(), signal.SIGKILL)
    with pytest.raises(UserError, match="ended twice at this request"):
        long.result(WAIT)
    assert service.request(Request(models[0], 3, target=0)).result(WAIT).image_id == 3


def test_one_who_is_killed_leaves_nothing_behind(join, warehouse_folder, meeting, models, until):
    service = join()
    service.request(Request(models[0], 1, target=0)).result(WAIT)
    code = (
        "import sys\n"
        "from etl.explain.service import Request, connect\n"
        "service = connect(sys.argv[1], 'shared')\n"
        "request = Request(sys.argv[2], 1, 'bbmp', target=0, parameters={'iterations': 100_000})\n"
        "service.request(request, lambda *what: print(*what, flush=True)).result()\n"
    )
    guest = subprocess.Popen([sys.executable, "-c", code, warehouse_folder, models[0]], stdout=subprocess.PIPE)
    assert guest.stdout.readline()
    guest.kill()
    guest.wait()
    guest.stdout.close()
    counts = [service.forwards]

    def still():
        counts.append(service.forwards)
        threading.Event().wait(0.3)
        return counts[-1] == counts[-2]

    until(still)
    assert service.request(Request(models[0], 2, target=0)).result(WAIT).image_id == 2


def test_order_and_promotion_travel(join, models, until):
    service, order, begun = join(), [], []
    blocker = service.request(
        Request(models[0], 0, "bbmp", target=0, parameters=LONG), lambda *what: begun.append(what)
    )
    until(lambda: begun)
    second = service.request(Request(models[0], 0, "bbmp", target=1, parameters=LONG), lambda *what: order.append("b"))
    until(lambda: order)  # two are begun: the others wait
    order.clear()
    waiting = service.request_many([Request(models[0], i, target=0) for i in range(4)], priority=1)
    for i, future in enumerate(waiting):
        future.add_done_callback(lambda _future, i=i: order.append(i))
    service.promote([waiting[2]])
    assert blocker.cancel()
    assert second.cancel()
    assert not wait(waiting, WAIT).not_done
    assert [i for i in order if i != "b"] == [2, 0, 1, 3]


def test_closing_cancels_what_is_not_finished(join, models, until):
    service, begun = join(), []
    future = service.request(Request(models[0], 1, "bbmp", target=0, parameters=LONG), lambda *what: begun.append(what))
    until(lambda: begun)
    service.close()
    assert future.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        service._engine.submit([])


def test_a_process_that_cannot_be_started_is_an_error_of_the_request(join, models, monkeypatch):
    service = join()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UserError, match=r"shared process: .* could not be started"):
        service.request(Request(models[0], 1, target=0)).result(WAIT)
    monkeypatch.undo()
    assert service.request(Request(models[0], 1, target=0)).result(WAIT).image_id == 1


def test_a_request_that_cannot_be_sent_fails_alone(join, models, monkeypatch, gated):
    service = join()
    gated.lock = threading.Lock()  # cannot be pickled
    bad = service.request(Request(models[0], 1, "gated", target=0))
    with pytest.raises(UserError, match="cannot be sent"):
        bad.result(WAIT)
    assert service.request(Request(models[0], 1, target=0)).result(WAIT).image_id == 1


def test_connect_chooses(warehouse_folder, meeting, models):
    with connect(warehouse_folder, "shared") as service:
        assert isinstance(service._engine, SharedEngine)
        assert service.forwards == 0
    assert meeting.pid() is None
