"""The page of a served session, without a browser."""

from __future__ import annotations

import gc
import weakref

import holoviews as hv
import pytest
from bokeh.application.handlers.document_lifecycle import DocumentLifecycleHandler
from bokeh.server import contexts, tornado
from bokeh.util.token import generate_jwt_token
from panel.io.application import Application
from panel.io.handlers import FunctionHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.ioloop import IOLoop

from tests.vacpanel.loops import in_a_loop
from vacpanel import ready
from vacpanel.page import page


@pytest.mark.parametrize("in_advance", [False, True])
def test_nothing_of_it_outlives_its_session(demo_warehouse, monkeypatch, in_advance):
    monkeypatch.setattr(tornado, "ApplicationContext", tornado.ApplicationContext)
    monkeypatch.setattr(contexts, "Document", contexts.Document)
    monkeypatch.setattr(ready, "DRAW_AFTER", 1e6)
    ready.serve_ready()
    drawn = []

    async def visit():
        def draw(document):
            drawn.append(weakref.ref(document))
            page(demo_warehouse).server_doc(document)

        app = Application(FunctionHandler(draw), DocumentLifecycleHandler())
        context = ready.ReadyContext(app, IOLoop.current(), url="/app")
        if in_advance:
            context._draw_next()
        token = generate_jwt_token("visit", extra_payload={"arguments": {}, "headers": {}, "cookies": {}})
        asked = RequestStartLine("GET", "/app/ws", "HTTP/1.1")
        request = HTTPServerRequest(start_line=asked, headers=HTTPHeaders({"Host": "localhost"}))
        session = await context.create_session_if_needed("visit", request, token)
        assert len(session.document.roots) > 1  # the page, and what shows sentences on it
        assert [document() for document in drawn] == [session.document]
        await context._discard_session(session, lambda _: True)
        assert session.destroyed

    in_a_loop(visit())
    hv.Curve([]).opts(width=100)  # HoloViews keeps the options that it looked up last
    gc.collect()
    gc.collect()
    assert [document() for document in drawn] == [None]
