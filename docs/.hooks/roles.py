"""Docstrings name other objects with Sphinx's roles; a page shows the name alone."""

from __future__ import annotations

import re

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>[~.]?")


def on_page_content(html: str, **_: object) -> str:
    """Called by MkDocs with the content of each page."""
    return ROLE.sub("<code>", html)
