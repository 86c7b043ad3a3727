"""The link is the state: a URL's query says everything that is selected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from vacpanel.state import URL_KEYS, Selection

if TYPE_CHECKING:
    from collections.abc import Callable


def _text_list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _id_list(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


_PARSERS: dict[str, Callable[[str], Any]] = {
    "models": _text_list,
    "classes": _id_list,
    "images": _id_list,
    "parameters": json.loads,
    "threshold": float,
}


def read(query: str, state: Selection) -> list[str]:
    """Set on `state` what a URL's query says, one value at a time, so that one bad value costs no other.

    Parameters
    ----------
    query
        The query of a URL, with or without ``?``.
    state
        Changed in place.

    Returns
    -------
    list of str
        One plain sentence for every value that was not understood.
    """
    given = dict(parse_qsl(query.removeprefix("?")))
    notices = []
    # In the state's order, not the link's: a method is set before its parameters.
    for name, key in URL_KEYS.items():
        text = given.get(key)
        if text is None:
            continue
        try:
            setattr(state, name, _PARSERS.get(name, str)(text))
        except (ValueError, TypeError, RecursionError):
            notices.append(f"The link's {key}={text[:60]!r} is not a valid value, so it was left out.")
    return notices


def write(state: Selection) -> str:
    """Return the query (with ``?``) that says what `state` says; what is empty is left out."""
    query = {}
    for name, key in URL_KEYS.items():
        value = getattr(state, name)
        if value or not isinstance(value, str | list | dict):
            query[key] = _text(value)
    return f"?{urlencode(query, safe=':,')}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
