"""Messages that are not kept back, on a real server."""

from __future__ import annotations

import re
import socket

import panel as pn
import pytest
from panel.io import server
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketHandler, websocket_connect

from tests.vacpanel.loops import in_a_loop
from vacpanel import sockets


def _delays() -> list[bool]:
    """Open a page's web socket, and tell for each message of the server whether TCP may keep parts of it back."""
    delays = []
    write = WebSocketHandler.write_message

    def noting(self, *given, **more):
        connected = self.ws_connection.stream.socket
        delays.append(not connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return write(self, *given, **more)

    async def visit():
        served = pn.serve({"app": lambda: pn.pane.Str("hello")}, port=0, show=False, start=False)
        served.start()
        try:
            address = f"localhost:{served.port}/app"
            page = await AsyncHTTPClient().fetch(f"http://{address}")
            token = re.search(r'"token":\s*"([^"]+)"', page.body.decode())[1]
            opened = await websocket_connect(f"ws://{address}/ws", subprotocols=["bokeh", token])
            await opened.read_message()
            opened.close()
        finally:
            served.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WebSocketHandler, "write_message", noting)
        in_a_loop(visit())
    return delays


@pytest.fixture
def routes():
    """The routes of every server, one list that Bokeh and Panel share, without ours."""
    routes, before = server.per_app_patterns, list(server.per_app_patterns)
    routes[:] = [
        (path, server.WSHandler if handler is sockets.PromptSocket else handler, *more)
        for path, handler, *more in before
    ]
    yield routes
    routes[:] = before


def test_nothing_is_kept_back_on_its_way_to_the_page(routes):
    assert any(_delays())  # else nothing of this would be needed
    sockets.serve_promptly()
    delays = _delays()
    assert delays
    assert not any(delays)


def test_asked_twice_the_routes_are_the_same(routes):
    sockets.serve_promptly()
    once = list(routes)
    sockets.serve_promptly()
    assert routes == once
