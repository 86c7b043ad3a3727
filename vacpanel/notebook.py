"""What a notebook needs to show views: Panel, from the installed package, and changes that reach the page.

On a server the changes of a document are held and travel together. In a notebook they travel by a channel that only
some of Panel's code knows: what is held without naming it, or changed in a plot by hand, would never arrive.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import panel as pn
from panel.io.document import hold as hold_on_server
from panel.io.document import unlocked as unlocked_on_server
from panel.io.notebook import push

from vacpanel import channels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


def prepare() -> None:
    """Load Panel into the notebook that this runs in, unless it is loaded already; elsewhere do nothing.

    A view calls it when it is made, so that it can be the last line of a cell without any line before.
    """
    kernel = _kernel()
    if kernel is None:
        return
    channels.use_for(kernel)
    if not pn.extension._loaded:
        pn.extension(inline=True)


def within() -> bool:
    """Return whether this runs in a notebook."""
    return _kernel() is not None


def hold() -> AbstractContextManager[None]:
    """Send all that changes in this context to the pages at its end, in one message on a server."""
    return _sending(hold_on_server)


def unlocked() -> AbstractContextManager[None]:
    """Send at the end of this context what it changed in plots by hand, at once."""
    return _sending(unlocked_on_server)


def afterwards(callback: Callable[[], None], seconds: float = 0.0) -> None:
    """Call when all that was changed before is on its way to the page; at once where no page is open.

    For what a person looks at last: plots are painted while the server still works on it.

    Parameters
    ----------
    callback
        What is to be done.
    seconds
        How much later: time for the page to ask for pictures, and for the server to answer.
    """
    there = pn.state.curdoc is not None and pn.state.loaded
    if not (there and seconds):
        pn.state.execute(callback, schedule=there)
        return

    async def later() -> None:
        await asyncio.sleep(seconds)
        callback()

    pn.state.execute(later)


@contextmanager
def _sending(on_server: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    shown = {doc: comm for _, _, doc, comm in pn.state._views.values() if comm is not None}
    if not shown:
        with on_server():
            yield
        return
    # While Panel handles what a page said, the document is not held: changes would be told to nobody.
    loose = [doc for doc in shown if not doc.callbacks.hold_value]
    for doc in loose:
        doc.hold("combine")
    try:
        yield
    finally:
        for doc, comm in shown.items():
            push(doc, comm)
        for doc in loose:
            doc.unhold()


def _kernel() -> Any:
    """Return the kernel of the notebook that this runs in; None elsewhere, and in a terminal's IPython."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython(), "kernel", None) if ipython is not None else None
