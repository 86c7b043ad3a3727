"""The channels between a notebook's kernel and a page: nothing is lost, overtaken, or handled while a cell runs."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from panel.io.notebook import JupyterCommJSBinary, JupyterCommManagerBinary
from pyviz_comms import JupyterComm

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = ("inner_width", "inner_height")
MOST_WAITED = 600  # seconds for a cell to end, so that the kernel opens a channel
PATIENCE = 10  # seconds for a page to tell that it has drawn a view; one out of sight may never tell


class _Kept:
    """What is to be sent once the page can take it."""

    def __init__(self) -> None:
        self.messages: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def send(self, *args: Any, **kwargs: Any) -> None:
        self.messages.append((args, kwargs))

    def close(self) -> None:
        self.messages.clear()


class ToPage(JupyterComm):
    """The channel to a page; what is sent before the page has drawn the view is kept, and arrives first.

    Of Panel's own channel a page that is not drawn yet drops what comes; and what is sent before the channel is open is
    tried again after a while, each message by itself, behind later ones. Columns of the past would meet columns of the
    present, of another length, which the page fails to draw.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._comm: Any = _Kept()  # Panel takes None for a channel that is not open yet
        self._open: Any = None

    def init(self, on_msg: Any = None) -> None:  # noqa: ARG002
        """Open the channel, as the page asked for; it asks again when it is loaded again."""
        kept = self._comm if isinstance(self._comm, _Kept) else _Kept()
        super().init()
        self._open, self._comm = self._comm, kept
        if FromPage.opening is None:
            self.drawn()
        else:
            FromPage.opening.answers(self)

    def drawn(self) -> None:
        """Send what was kept, and from now on at once."""
        if isinstance(self._comm, _Kept) and self._open is not None:
            kept, self._comm = self._comm, self._open
            for args, kwargs in kept.messages:
                self._comm.send(*args, **kwargs)

    def close(self) -> None:
        """Close the channel, open or not."""
        super().close()
        if self._open is not None and self._open is not self._comm:
            self._open.close()


class FromPage(JupyterCommJSBinary):
    """The channel from a page; what the page says is handled in the thread where cells run, between them.

    JupyterLab has it arrive in a thread of its own, a "subshell". There it would change the state while a cell reads or
    sets it; and while Panel handles it, what a cell prints is lost, for Panel redirects the output of all threads.
    """

    opening: ClassVar[FromPage | None] = None
    """The channel that the page opens now."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        self._answers: ToPage | None = None

    def answers(self, way: ToPage) -> None:
        """Remember the channel that leads back, until the page has drawn the view."""
        self._answers = way
        if self._loop is not None:
            self._loop.call_later(PATIENCE, way.drawn)

    def _handle_open(self, comm: Any, msg: Any) -> None:
        self._between_cells(self._opened, comm, msg)

    def _opened(self, comm: Any, msg: Any) -> None:
        FromPage.opening = self
        try:
            super()._handle_open(comm, msg)
        finally:
            FromPage.opening = None

    def _handle_msg(self, msg: Any) -> None:
        self._between_cells(self._told, msg)

    def _told(self, msg: Any) -> None:
        if self._answers is not None and _tells_of_drawing(msg):
            self._answers.drawn()
            self._answers = None
        super()._handle_msg(msg)

    def _between_cells(self, handle: Callable[..., None], *args: Any) -> None:
        if self._loop is None or threading.get_ident() == self._thread:
            handle(*args)
        else:
            self._loop.call_soon_threadsafe(handle, *args)


def use_for(kernel: Any) -> None:
    """Let everything that Panel shows from now on in this kernel's notebook speak through these channels."""
    await_opening(kernel)
    JupyterCommManagerBinary.server_comm, JupyterCommManagerBinary.client_comm = ToPage, FromPage


def await_opening(kernel: Any) -> None:
    """Let a kernel keep what a page says on a channel that it has not opened yet, as it is busy with cells.

    JupyterLab asks to open it in the queue of the cells, and sends what follows past them, by a "subshell"; the kernel
    would drop that for a channel that it does not know.
    """
    handle = kernel.shell_handlers["comm_msg"]
    if getattr(handle, "awaits_opening", False):
        return

    def comm_msg(stream: Any, ident: Any, msg: Any) -> Any:
        known = kernel.comm_manager.comms
        if msg["header"].get("subshell_id") is None or msg["content"]["comm_id"] in known:
            return handle(stream, ident, msg)

        async def later() -> None:
            until = time.monotonic() + MOST_WAITED
            while msg["content"]["comm_id"] not in known and time.monotonic() < until:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)  # known first, and only then listened to
            handle(stream, ident, msg)

        return later()

    comm_msg.awaits_opening = True  # type: ignore[attr-defined]
    kernel.shell_handlers["comm_msg"] = comm_msg


def _tells_of_drawing(msg: Any) -> bool:
    """Whether a page can only say this once it has drawn the view: its size, or that it is ready."""
    events = (msg["content"]["data"].get("content") or {}).get("events", ())
    return any(event.get("kind") == "MessageSent" or event.get("attr") in SIZES for event in events)
