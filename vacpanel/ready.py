"""A session that stands ready: what the next visitor will see is drawn before they come.

Drawing the views for a session takes about two seconds, in which its visitor would look at the poster. Only the link
tells visitors apart, and following a link costs no more than a few clicks. So one session's document is drawn in
advance, while the browser of the visitor before builds its page, and the next web socket gets it.

Bokeh makes the document of a session in `ApplicationContext.create_session_if_needed`; `serve_ready` puts a subclass in
its place. Should that no longer fit some later Bokeh, nothing is ever taken, and sessions are drawn when they come.
"""

from __future__ import annotations

import logging
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import panel as pn
from bokeh.core.types import ID
from bokeh.document import Document
from bokeh.server import contexts, tornado
from bokeh.server.contexts import ApplicationContext, BokehSessionContext
from bokeh.util.token import get_token_payload
from panel.io.document import _cleanup_doc
from panel.io.location import Location
from panel.io.state import set_curdoc
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.application import Application
    from bokeh.document.events import DocumentChangedEvent
    from bokeh.server.session import ServerSession

logger = logging.getLogger(__name__)
FIRST_AFTER = 2.0
"""Seconds after a server has started until a first session is drawn, for whoever comes later than that."""
DRAW_AFTER = 0.3
"""Seconds after a session has begun until the next is drawn: by then its document is sent, and its browser works."""

_drawing: ContextVar[_Ready | None] = ContextVar("_drawing", default=None)
_offered: ContextVar[Document | None] = ContextVar("_offered", default=None)


@dataclass
class _Ready:
    """A document drawn for nobody in particular.

    Attributes
    ----------
    document, context
        The document, and the session that it believes to belong to.
    visited
        What is to be done when its visitor has come, with the query of their link; None where the page did not say,
        perhaps because it could not be drawn.
    fresh
        Tells whether a page drawn now would look the same.
    """

    document: Document
    context: BokehSessionContext
    visited: Callable[[str], bool] | None = None
    fresh: Callable[[], bool] = lambda: True


def when_visited(callback: Callable[[str], bool], fresh: Callable[[], bool]) -> None:
    """Have the page that is being drawn brought up to date when its visitor comes.

    Parameters
    ----------
    callback
        Gets the query of the visitor's link, and tells whether it changed anything. Is never called where the page is
        drawn for a visitor who is there.
    fresh
        Asked before: if a page drawn now would look different, the visitor gets that.
    """
    ready = _drawing.get()
    if ready is not None:
        ready.visited, ready.fresh = callback, fresh


def serve_ready() -> None:
    """Let every server that is started from now on in this process keep a session ready for each of its apps."""
    tornado.ApplicationContext = ReadyContext
    contexts.Document = _document


def _document() -> Document:
    """Return the document of a new session: the one that stood ready, if there is one."""
    offered = _offered.get()
    _offered.set(None)
    return Document() if offered is None else offered


class ReadyContext(ApplicationContext):
    """The sessions of an app, the next one's document ready."""

    def __init__(self, application: Application, *args: Any, **kwargs: Any) -> None:
        super().__init__(application, *args, **kwargs)
        self._draw = application.initialize_document
        application.initialize_document = self._initialize
        self._ready: _Ready | None = None
        self._taken: weakref.WeakKeyDictionary[Document, _Ready] = weakref.WeakKeyDictionary()
        # Path of a web socket, and Panel's addresses below it; as they are without a prefix until one was opened.
        self._like: tuple[str, str, str | None] = (f"{(self._url or '').rstrip('/')}/ws", "/", "")
        self._waiting = False

    def run_load_hook(self) -> None:
        """Begin with the first session."""
        super().run_load_hook()
        self._draw_in(FIRST_AFTER)

    async def create_session_if_needed(
        self, session_id: ID, request: HTTPServerRequest | None = None, token: str | None = None
    ) -> ServerSession:
        """Return a session; a new one for a web socket is one that stood ready, if possible."""
        if session_id in self._sessions or session_id in self._pending_sessions or not _is_socket(request, token):
            return await super().create_session_if_needed(session_id, request, token)
        assert request is not None
        ready, self._ready = self._ready, None
        if ready is not None and request.path == self._like[0] and ready.fresh():
            self._taken[ready.document] = ready
            _offered.set(ready.document)
        elif ready is not None:
            _cleanup_doc(ready.document)
        session = await super().create_session_if_needed(session_id, request, token)
        with set_curdoc(session.document):
            self._like = request.path, pn.state.base_url, pn.state.rel_path
        self._draw_in(DRAW_AFTER)
        return session

    def _initialize(self, document: Document) -> None:
        """Draw a session's document, or bring the one that stood ready up to date."""
        ready = self._taken.pop(document, None)
        if ready is None:
            self._draw(document)
            return
        assert ready.visited is not None
        session = document.session_context
        with set_curdoc(document):
            # As Panel does; see `panel.io.application.Application.initialize_document`.
            query = Location.from_request(session.request if session else None).search or ""
            if ready.visited(query):
                # Panel keeps changes from a document's listeners until a browser is connected.
                vars(document).pop("to_json", None)

    def _draw_in(self, seconds: float) -> None:
        if self._loop is not None and not self._waiting:
            self._waiting = True
            self._loop.call_later(seconds, self._draw_next)

    def _draw_next(self) -> None:
        self._waiting = False
        if self._ready is not None or self._loop is None:
            return
        path, base_url, rel_path = self._like
        document = Document()
        session = BokehSessionContext(ID("ready"), self.server_context, document, logout_url=self._logout_url)
        asked = HTTPServerRequest(
            start_line=RequestStartLine("GET", path, "HTTP/1.1"), headers=HTTPHeaders({"Host": "localhost"})
        )
        session._request = contexts._RequestProxy(asked, arguments={}, cookies={}, headers={})
        document._session_context = weakref.ref(session)
        ready = _Ready(document, session)
        drawing = _drawing.set(ready)
        try:
            with set_curdoc(document):
                pn.state.base_url, pn.state.rel_path = base_url, rel_path
            self._draw(document)
        except Exception:
            logger.exception("The next session could not be drawn in advance")
        else:
            if ready.visited is not None:
                self._ready = ready
                self._loop.add_callback(self._write_down_next)  # others first
        finally:
            _drawing.reset(drawing)

    def _write_down_next(self) -> None:
        if self._ready is not None:
            _write_down(self._ready.document)


def _write_down(document: Document) -> None:
    """Have what the browser will be sent at hand, until something in the document changes."""
    written = document.to_json()

    def forget(event: DocumentChangedEvent) -> None:  # noqa: ARG001  (Bokeh wants it called so)
        vars(document).pop("to_json", None)

    def to_json(*, deferred: bool = True) -> Any:
        vars(document).pop("to_json", None)
        document.remove_on_change(forget)
        return written if deferred else document.to_json(deferred=False)

    document.on_change(forget)
    vars(document)["to_json"] = to_json


def _is_socket(request: HTTPServerRequest | None, token: str | None) -> bool:
    """Return whether a session is asked for by the web socket of a page as anybody might open it.

    Panel draws for ``?theme=``, and for pages embedded in another server's, as it would for nobody else.
    """
    if request is None or not token or not request.path.endswith("/ws"):
        return False
    return not {"theme", "bokeh-absolute-url"} & set(get_token_payload(token).get("arguments", {}))
