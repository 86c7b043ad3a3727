"""The session that stands ready: who gets it, and what they find."""

from __future__ import annotations

import panel as pn
import pytest
from bokeh.document import Document
from bokeh.models import Div
from bokeh.server import contexts, tornado
from bokeh.util.token import generate_jwt_token
from panel.io.application import Application
from panel.io.handlers import FunctionHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.ioloop import IOLoop

from tests.vacpanel.loops import in_a_loop
from vacpanel import ready
from vacpanel.ready import ReadyContext, when_visited


@pytest.fixture
def served(monkeypatch):
    """The classes that a server of this process would use."""
    monkeypatch.setattr(tornado, "ApplicationContext", tornado.ApplicationContext)
    monkeypatch.setattr(contexts, "Document", Document)
    monkeypatch.setattr(ready, "DRAW_AFTER", 1e6)  # the tests draw when they want to
    ready.serve_ready()
    assert tornado.ApplicationContext is ReadyContext


class App:
    """An app whose page says what the link asked for."""

    def __init__(self, *, says: bool = True, fails: bool = False) -> None:
        self.drawn: list[Document] = []
        self.says, self.fails, self.fresh = says, fails, True
        self.context = ReadyContext(Application(FunctionHandler(self._draw)), IOLoop.current(), url="/app")

    def _draw(self, document: Document) -> None:
        self.drawn.append(document)
        if self.fails and len(self.drawn) > 1:
            raise ValueError("cannot be drawn")
        text = Div(text=pn.state.location.search or "")
        document.add_root(text)
        if self.says:
            when_visited(lambda query: text.update(text=f"visited {query}") or True, lambda: self.fresh)

    async def visit(self, name: str, path: str = "/app/ws", **arguments: str) -> Document:
        """Open a session as a page's web socket does, and return its document."""
        given = {key: [value.encode()] for key, value in arguments.items()}
        token = generate_jwt_token(name, extra_payload={"arguments": given, "headers": {}, "cookies": {}})
        query = "&".join(f"{key}={value}" for key, value in arguments.items())
        request = HTTPServerRequest(
            start_line=RequestStartLine("GET", f"{path}?{query}", "HTTP/1.1"),
            headers=HTTPHeaders({"Host": "localhost"}),
        )
        session = await self.context.create_session_if_needed(name, request, token)
        assert session.id == name
        assert session.document.session_context.id == name
        return session.document

    def draw_next(self) -> None:
        """Do what the server does a moment after a session has begun."""
        self.context._draw_next()


def _text(document):
    return document.roots[0].text


def test_the_next_visitor_gets_what_was_drawn_in_advance(served):
    async def visits():
        app = App()
        first = await app.visit("first")
        app.draw_next()
        second = await app.visit("second", root="animals")
        third = await app.visit("third", root="plants")
        return app, first, second, third

    app, first, second, third = in_a_loop(visits())
    assert app.drawn == [first, second, third]
    assert (_text(first), _text(second), _text(third)) == ("", "visited ?root=animals", "?root=plants")


def test_a_session_that_is_there_takes_no_other(served):
    async def visits():
        app = App()
        first = await app.visit("first")
        app.draw_next()
        return first, await app.visit("first"), await app.visit("second"), app.drawn[1]

    first, again, second, drawn = in_a_loop(visits())
    assert again is first
    assert second is drawn


@pytest.mark.parametrize("arguments", [{"theme": "dark"}, {"bokeh-absolute-url": "https://elsewhere"}])
def test_who_needs_another_page_gets_one(served, arguments):
    async def visits():
        app = App()
        await app.visit("first")
        app.draw_next()
        return app, await app.visit("second", **arguments), await app.visit("third")

    app, second, third = in_a_loop(visits())
    assert app.drawn == [app.drawn[0], third, second]


def test_what_has_become_old_is_nobodys(served):
    async def visits():
        app = App()
        await app.visit("first")
        app.draw_next()
        app.fresh = False
        second = await app.visit("second")
        app.draw_next()
        app.fresh = True
        return app, second, await app.visit("third")

    app, second, third = in_a_loop(visits())
    assert app.drawn[2:] == [second, third]
    assert app.drawn[1] not in {second, third}


def test_below_another_prefix_nothing_fits(served):
    async def visits():
        app = App()
        app.draw_next()  # as at the start of a server, which does not know its prefix
        first = await app.visit("first", "/of/ours/app/ws")
        app.draw_next()
        return app, first, await app.visit("second", "/of/ours/app/ws")

    app, first, second = in_a_loop(visits())
    assert app.drawn[1:] == [first, second]


@pytest.mark.parametrize("flaw", [{"says": False}, {"fails": True}])
def test_a_page_that_could_not_be_drawn_is_nobodys(served, flaw):
    async def visits():
        app = App(**flaw)
        await app.visit("first")
        app.draw_next()
        return app, await app.visit("second")

    app, second = in_a_loop(visits())
    assert len(app.drawn) == 3
    assert second is app.drawn[2]


def test_what_is_sent_was_written_in_advance_and_is_never_old(served):
    async def visits():
        app = App()
        app.draw_next()
        document = app.drawn[0]
        ready._write_down(document)
        before = document.to_json().content
        ready._write_down(document)
        text = document.roots[0]
        written = document.to_json
        text.text = "changed"
        assert document.to_json is not written
        return before, document.to_json().content, Document.to_json(document).content

    before, after, truth = in_a_loop(visits())
    assert "changed" not in str(before)
    assert "changed" in str(after)
    assert after == truth
