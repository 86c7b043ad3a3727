"""What runs in the browser: scripts and styles of the components, as files of their own languages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def script(*names: str, **constants: Any) -> str:
    """Return one ES module made of files, those that others need first.

    Parameters
    ----------
    *names
        Files of this folder, without ``.js``. Each may use what stands before it.
    **constants
        What the scripts know from Python, by name.
    """
    known = "".join(f"const {name} = {json.dumps(value)}\n" for name, value in constants.items())
    return known + "\n".join(_text(f"{name}.js") for name in names)


def style(*names: str) -> str:
    """Return one style sheet made of files of this folder, named without ``.css``."""
    return "\n".join(_text(f"{name}.css") for name in names)


def document(name: str) -> str:
    """Return a file of this folder, named without ``.html``."""
    return _text(f"{name}.html")


@cache
def _text(file: str) -> str:
    return (_HERE / file).read_text(encoding="utf-8")
