"""What a notebook's pages are sent."""

from __future__ import annotations

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.models import ColumnDataSource, Div
from panel.io import notebook as panel_notebook

from vacpanel.notebook import send_as_text


class Channel:
    """Stands for a channel to JupyterLab that is open; keeps what it is given."""

    def __init__(self) -> None:
        self._comm = self
        self.sent: list[str | None] = []
        self.buffers: list[bytes] = []

    def send(self, data=None, metadata=None, buffers=()):
        self.sent.append(data)
        self.buffers += buffers


@pytest.fixture
def page(monkeypatch):
    """A document on a page, which has yet to hear of some numbers."""
    monkeypatch.setattr(panel_notebook, "diff", panel_notebook.diff)
    document = Document()
    source = ColumnDataSource(data={"x": np.zeros(3)})
    document.add_root(source)
    document.add_root(Div(text="before"))
    document.hold("combine")
    source.data = {"x": np.arange(3.0)}
    return document


def test_panel_alone_sends_buffers(page):
    channel = Channel()
    panel_notebook.push(page, channel)
    assert channel.buffers, "Panel sends text by itself now: vacpanel.notebook.send_as_text can go"


def test_what_panel_sends_of_its_own_accord_is_text(page):
    send_as_text()
    send_as_text()  # as every view does when it is made
    channel = Channel()
    panel_notebook.push(page, channel)
    assert channel.buffers == []
    assert "__ndarray__" not in "".join(filter(None, channel.sent[:2]))
    assert '"type":"ndarray"' in channel.sent[2]
