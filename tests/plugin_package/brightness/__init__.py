"""An example of a plug-in package for vacpanel: each module adds one thing, `pyproject.toml` names them."""

from __future__ import annotations
