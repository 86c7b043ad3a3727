"""What a browser says to a server and hears from it, without a browser.

A `Visitor` asks for the page, opens its web socket, pulls the document, and from then on speaks Bokeh's protocol as the
page does: a tap tells which marks were picked. It costs a hundredth of what a browser costs, so that many of them on
one machine measure the server and not each other. What it leaves out: drawing, layout (the page tells the server how
large plots came out), and the messages by which a page's theme is applied.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.ui.plots import Marks

QUIET = 0.25  # seconds without a message: everything has come
PATIENCE = 60.0  # seconds until a tap without an answer counts as an error
PICTURES = 12  # of those that an answer names, so many are in sight and fetched

_TOKEN = re.compile(r'"token":\s*"([^"]+)"')
_PICTURE = re.compile(r"vacpanel-media/[\w./-]+")


@dataclass
class Answer:
    """What came of something that was said.

    Attributes
    ----------
    seconds
        Until the last of the messages that came of it.
    changed
        Ids of the models that they change.
    size
        Bytes of these messages.
    """

    seconds: float = 0.0
    changed: Counter[str] = field(default_factory=Counter)
    size: int = 0


class VisitorError(Exception):
    """The server did something else than it should; the message says what."""


class Visitor:
    """One session of the dashboard.

    Parameters
    ----------
    address
        Of the server, such as ``http://127.0.0.1:5006``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: WebSocketClientConnection | None = None
        self._models: dict[str, dict[str, Any]] = {}
        self._views: dict[str, dict[str, None]] = {}  # ids of the models in each, in the order in which they came
        self._seen: set[str] = set()
        self._coming: asyncio.Future[Any] | None = None
        self._picks = 0
        self.broken: list[str] = []

    async def open(self, query: str = "") -> float:
        """Open the page; return the seconds until its document had come."""
        started = time.perf_counter()
        http = AsyncHTTPClient()
        page = await http.fetch(HTTPRequest(f"{self._address}/app{query}", request_timeout=PATIENCE))
        found = _TOKEN.search(page.body.decode())
        if found is None:
            raise VisitorError("The page has no token.")
        socket = f"{self._address.replace('http', 'ws', 1)}/app/ws"
        request = HTTPRequest(socket, request_timeout=PATIENCE)
        self._socket = await websocket_connect(request, subprotocols=["bokeh", found[1]], max_message_size=1 << 28)
        await self._until("ACK")
        await self._say("PULL-DOC-REQ", {})
        document, _ = await self._until("PULL-DOC-REPLY")
        self._learn(document["doc"])
        ready = {"type": "event", "name": "document_ready", "values": {"type": "map"}}
        await self._say("PATCH-DOC", {"events": [_event("bokeh_event", ready)]})
        seconds = time.perf_counter() - started
        await self._answer()
        return seconds

    async def close(self) -> None:
        """Leave, as a tab that is closed."""
        if self._socket is not None:
            self._socket.close()
        await asyncio.sleep(0)

    def rows(self, marks: Marks) -> int:
        """Return how many marks there are."""
        return _length(self._source(marks)["attributes"]["data"])

    async def select(self, marks: Marks, rows: list[int], changes: tuple[str, ...]) -> Answer:
        """Tap one mark, or brush several; wait for all that comes of it.

        Parameters
        ----------
        marks
            Of which plot.
        rows
            Positions of the marks.
        changes
            Selectors of the views that have to change.

        Raises
        ------
        VisitorError
            If one does not.
        """
        self._picks += 1
        pick = self._pick(self._source(marks)["id"])
        event = {"kind": "ModelChanged", "model": {"id": pick}, "attr": "tags", "new": [self._picks, *rows]}
        await self._say("PATCH-DOC", {"events": [event]})
        answer = await self._answer(lambda changed: all(changed & self._views[view].keys() for view in changes))
        missing = [view for view in changes if not answer.changed.keys() & self._views[view].keys()]
        if missing:
            raise VisitorError(f"{', '.join(missing)} did not change after {marks.key} {rows[:3]} was chosen.")
        return answer

    # Messages ---------------------------------------------------------------------------------------------------------

    async def _say(self, kind: str, content: dict[str, Any]) -> None:
        assert self._socket is not None
        header = {"msgid": uuid.uuid4().hex, "msgtype": kind}
        for part in (header, {}, content):
            await self._socket.write_message(json.dumps(part))

    async def _hear(self, patience: float) -> tuple[str, dict[str, Any], int] | None:
        """Return kind, content and size of the next message; None if there is none for a while."""
        assert self._socket is not None
        # A part that is being waited for is not lost when patience ends: it is waited for again.
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._socket.read_message())
        done, _ = await asyncio.wait([self._coming], timeout=patience)
        if not done:
            return None
        first, self._coming = self._coming.result(), None
        if first is None:
            raise VisitorError("The server hung up.")
        header = json.loads(first)
        parts = [first]
        for _ in range(2 + 2 * header.get("num_buffers", 0)):
            part = await self._socket.read_message()
            if part is None:
                raise VisitorError("The server hung up in the middle of a message.")
            parts.append(part)
        size = sum(len(part) for part in parts)
        return header["msgtype"], json.loads(parts[2]), size

    async def _until(self, kind: str) -> tuple[dict[str, Any], int]:
        while (heard := await self._hear(PATIENCE)) is not None:
            if heard[0] == kind:
                return heard[1], heard[2]
        raise VisitorError(f"{kind} did not come within {PATIENCE:.0f} s.")

    async def _answer(self, enough: Any = lambda _: True) -> Answer:
        """Hear what comes until there is enough of it and silence for a while."""
        started, answer = time.perf_counter(), Answer()
        pictures: list[str] = []
        while True:
            heard = await self._hear(QUIET)
            waited = time.perf_counter() - started
            if heard is None:
                if enough(set(answer.changed)) or waited > PATIENCE:
                    break
                continue
            kind, content, size = heard
            if kind == "ERROR":
                raise VisitorError(f"The server says: {content.get('text')}")
            if kind == "PATCH-DOC":
                changed = [model for event in content["events"] if (model := _changed(event))]
                if changed:
                    answer.seconds = waited
                    answer.changed.update(changed)
                pictures += _PICTURE.findall(json.dumps(content))
                self._learn_change(content)
            answer.size += size
        await self._fetch([address for address in dict.fromkeys(pictures) if address not in self._seen][:PICTURES])
        return answer

    async def _fetch(self, addresses: list[str]) -> None:
        """Load pictures, as a page does with those in sight."""
        self._seen.update(addresses)
        http = AsyncHTTPClient()
        requests = [HTTPRequest(f"{self._address}/{path}", request_timeout=PATIENCE) for path in addresses]
        for got in await asyncio.gather(*(http.fetch(request, raise_error=False) for request in requests)):
            if got.code != 200:
                self.broken.append(f"{got.code} {got.request.url}")

    # The document -----------------------------------------------------------------------------------------------------

    def _learn(self, part: Any) -> None:
        """Remember the models of a document, and in which view they are."""
        for view, model in _models(part, ""):
            self._models.setdefault(model["id"], model)
            if view:
                self._views.setdefault(view, {})[model["id"]] = None

    def _learn_change(self, content: dict[str, Any]) -> None:
        """Remember the models that came later, in the view of the model that got them."""
        for event in content["events"]:
            receiver = (event.get("model") or {}).get("id")
            views = [view for view, members in self._views.items() if receiver in members]
            for _, model in _models(event, views[0] if views else ""):
                self._models[model["id"]] = model
                for view in views:
                    self._views[view][model["id"]] = None

    def _source(self, marks: Marks) -> dict[str, Any]:
        for model_id in reversed(self._views.get(marks.view, {})):
            model = self._models[model_id]
            if model["name"] != "ColumnDataSource" or "data" not in model.get("attributes", {}):
                continue
            columns = {name for name, _ in model["attributes"]["data"].get("entries", [])}
            if marks.key in columns and not columns & set(marks.without) and "selected" in model["attributes"]:
                return model
        raise VisitorError(f"There are no marks with {marks.key} in {marks.view}.")

    def _pick(self, source: str) -> str:
        """Return the id of the model that tells the server which marks of a source were picked."""
        for model in self._models.values():
            args = dict((model.get("attributes", {}).get("args") or {}).get("entries", []))
            renderer = self._models.get(args["renderer"]["id"]) if {"renderer", "pick"} <= args.keys() else None
            if renderer is not None and renderer["attributes"]["data_source"]["id"] == source:
                return str(args["pick"]["id"])
        raise VisitorError(f"Nothing can be picked of the source {source}.")


def _models(part: Any, view: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all models in a part of a document, each with the selector of the view that it belongs to."""
    if isinstance(part, list):
        for member in part:
            yield from _models(member, view)
    elif isinstance(part, dict):
        if part.get("type") == "object" and "id" in part:
            classes = part.get("attributes", {}).get("css_classes", [])
            view = next((f".{name}" for name in classes if name.startswith("vac-") and name != "vac-view"), view)
            yield view, part
        for member in part.values():
            yield from _models(member, view)


def _length(data: dict[str, Any]) -> int:
    """Return the number of rows of a column data source."""
    [_, column], *_ = data["entries"]
    if isinstance(column, list):
        return len(column)
    return int(column["shape"][0] if "shape" in column else len(column["entries"]))


def _changed(event: dict[str, Any]) -> str:
    """Return the id of the model that an event changes; none where it is only about being busy."""
    if event.get("attr") == "busy":
        return ""
    return str((event.get("model") or {}).get("id", ""))


def _event(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "MessageSent", "msg_type": kind, "msg_data": content}
