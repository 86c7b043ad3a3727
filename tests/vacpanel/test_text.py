"""Text is text: what is given to a line never becomes markup."""

from __future__ import annotations

import html

import panel as pn
import param
import pytest

from vacpanel.views.text import PlainText, line

MARKUP = "<img src=x onerror=alert(1)> & “quoted”"


class Named(param.Parameterized):
    name_ = param.String(MARKUP)


def _shown(pane):
    """Return what the browser would take for HTML: Panel's model holds it escaped once more."""
    return html.unescape(pane.get_root().text)


@pytest.mark.parametrize("given", [MARKUP, Named().param.name_], ids=["string", "parameter"])
def test_what_a_line_begins_with_is_text(given):
    assert _shown(line(given)) == html.escape(MARKUP)


def test_what_a_line_is_set_to_is_text():
    said = line()
    said.object = MARKUP
    assert _shown(said) == html.escape(MARKUP)
    said.object = None
    assert _shown(said) == ""


def test_panel_does_not_choose_it_for_others_objects():
    class Shown:
        def _repr_html_(self):
            return "<b>bold</b>"

    assert not isinstance(pn.panel(Shown()), PlainText)
