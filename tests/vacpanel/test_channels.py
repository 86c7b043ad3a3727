"""The channels between a notebook's kernel and a page: nothing is lost, overtaken, or handled while a cell runs."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace

import ipykernel.comm
import IPython
import pytest
from bokeh.document import Document
from bokeh.models import ColumnDataSource
from panel.io.notebook import JupyterCommManagerBinary, push

from tests.vacpanel.loops import in_a_loop
from vacpanel import channels, notebook


class Channel:
    """What ipykernel calls a comm: it arrives at the page."""

    def __init__(self, **_):
        self.arrived = []

    def on_msg(self, handle):
        self.handle = handle

    def send(self, data=None, metadata=None, buffers=()):
        self.arrived.append(data)

    def close(self):
        pass


@pytest.fixture
def kernel(monkeypatch):
    """A kernel that seems to be there, as a view finds it."""
    opened: list[Channel] = []
    monkeypatch.setattr(ipykernel.comm, "Comm", lambda **_: opened.append(Channel()) or opened[-1])
    manager = SimpleNamespace(comms={}, targets={}, register_target=lambda name, handle: None)
    handled: list[str] = []
    kernel = SimpleNamespace(
        comm_manager=manager,
        shell_handlers={"comm_msg": lambda stream, ident, msg: handled.append(msg["content"]["data"])},
        opened=opened,
        handled=handled,
    )
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    monkeypatch.setattr(notebook.pn.extension, "_loaded", True)
    for name in ("server_comm", "client_comm"):
        monkeypatch.setattr(JupyterCommManagerBinary, name, getattr(JupyterCommManagerBinary, name))
    notebook.prepare()
    return kernel


def _channels(on_msg=None):
    """The two channels of a view, tied as Panel ties them."""
    there = JupyterCommManagerBinary.get_server_comm()
    back = JupyterCommManagerBinary.get_client_comm(on_msg=on_msg, on_open=lambda _: there.init())
    return there, back


def _says(*events):
    return {"content": {"data": {"content": {"events": list(events)}}}, "buffers": []}


DRAWN = {"kind": "ModelChanged", "attr": "inner_width", "new": 300}
ADDED = {"kind": "RootAdded"}


def _plot():
    """A document with a source of rows, as a notebook shows it."""
    doc, source = Document(), ColumnDataSource({"x": [0], "y": [0]})
    doc.add_root(source)
    doc.hold("combine")
    return doc, source


def _lengths(channel):
    """How long the columns are that arrive, in their order."""
    events = [event for text in channel.arrived if text for event in json.loads(text).get("events", [])]
    return [len(event["data"]["entries"][0][1]) for event in events]


def test_what_is_sent_before_the_page_is_drawn_arrives_first(kernel):
    async def run():
        doc, source = _plot()
        there, back = _channels()
        source.data.update(x=[1, 2], y=[1, 2])
        push(doc, there)  # the page has not even asked for the channel
        back._handle_open(Channel(), {})
        source.data.update(x=[1, 2, 3], y=[1, 2, 3])
        push(doc, there)  # it is open, and the page draws
        await asyncio.sleep(0.25)  # Panel's own channel tries again each 0.1 s
        back._handle_msg(_says(ADDED))
        before = _lengths(kernel.opened[0])
        back._handle_msg(_says(ADDED, DRAWN))
        source.data.update(x=[1, 2, 3, 4], y=[1, 2, 3, 4])
        push(doc, there)
        return before, _lengths(kernel.opened[0])

    assert in_a_loop(run()) == ([], [2, 3, 4])


def test_a_page_that_tells_nothing_is_told_all_the_same(kernel, monkeypatch):
    monkeypatch.setattr(channels, "PATIENCE", 0.05)

    async def run():
        doc, source = _plot()
        there, back = _channels()
        source.data.update(x=[1, 2], y=[1, 2])
        push(doc, there)
        back._handle_open(Channel(), {})
        await asyncio.sleep(0.2)
        return _lengths(kernel.opened[0])

    assert in_a_loop(run()) == [2]


def test_a_page_that_is_loaded_again_is_waited_for_again(kernel):
    async def run():
        doc, source = _plot()
        there, back = _channels()
        for _ in range(2):
            back._handle_open(Channel(), {})
            source.data.update(x=[1, 2], y=[1, 2])
            push(doc, there)
            back._handle_msg(_says(DRAWN))
        return [_lengths(channel) for channel in kernel.opened]

    assert in_a_loop(run()) == [[2], [2]]


def test_what_a_page_says_is_handled_between_cells(kernel, capsys):
    """JupyterLab's subshells are threads, and Panel redirects the output of all threads while it handles a message."""
    threads = []
    told = threading.Event()

    def on_msg(msg):
        threads.append(threading.get_ident())
        told.wait(0.5)  # as long as a cell needs to print

    async def run():
        _, back = _channels(on_msg)
        back._handle_open(Channel(), {})
        subshell = threading.Thread(target=back._handle_msg, args=(_says(DRAWN),))
        subshell.start()
        while not threads and subshell.is_alive():
            pass
        print("from a cell")
        told.set()
        subshell.join()
        await asyncio.sleep(0)
        return threading.get_ident()

    cells = in_a_loop(run())
    assert threads == [cells]
    assert capsys.readouterr().out == "from a cell\n"


def _message(subshell):
    return {"header": {"subshell_id": subshell}, "content": {"comm_id": "a", "data": "tap"}}


def test_what_a_page_says_on_a_channel_that_is_not_open_yet_is_kept(kernel):
    async def run():
        handling = asyncio.ensure_future(kernel.shell_handlers["comm_msg"](None, None, _message("one")))
        await asyncio.sleep(0.1)
        early = list(kernel.handled)
        kernel.comm_manager.comms["a"] = Channel()
        await handling
        return early

    assert in_a_loop(run()) == []
    assert kernel.handled == ["tap"]


@pytest.mark.parametrize(("subshell", "known"), [(None, False), ("one", True)])
def test_other_messages_are_handled_at_once(kernel, subshell, known):
    if known:
        kernel.comm_manager.comms["a"] = Channel()
    assert kernel.shell_handlers["comm_msg"](None, None, _message(subshell)) is None
    assert kernel.handled == ["tap"]


def test_a_kernel_is_prepared_once(kernel):
    handle = kernel.shell_handlers["comm_msg"]
    notebook.prepare()
    assert kernel.shell_handlers["comm_msg"] is handle


def test_nothing_is_prepared_outside_of_notebooks(monkeypatch):
    for shell in (None, SimpleNamespace()):
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        notebook.prepare()
    assert JupyterCommManagerBinary.server_comm is not channels.ToPage
