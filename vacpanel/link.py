"""The link is the state: a URL's query says everything that is selected."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from vacpanel.state import URL_KEYS, Selection
from warehouse.predicate import Predicate

if TYPE_CHECKING:
    from collections.abc import Callable


def _text_list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _id_list(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _predicate(text: str) -> Predicate:
    """Return the predicate that `_text` wrote; any other text is refused."""
    given = json.loads(text or "{}")
    kinds = {"models": str, "roots": str, "classes": int, "images": int}
    if not isinstance(given, dict) or not all(_is_condition(name, value, kinds) for name, value in given.items()):
        raise ValueError(text)
    conditions: dict[str, Any] = {name: tuple(value) if name in kinds else value for name, value in given.items()}
    return Predicate(**conditions)


def _is_condition(name: str, value: Any, kinds: dict[str, type]) -> bool:
    if name in kinds:
        return isinstance(value, list) and all(type(member) is kinds[name] for member in value)
    if name == "correct":
        return isinstance(value, bool)
    return name in {"min_confidence", "max_confidence"} and type(value) in {int, float}


def _parameters(text: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of methods that `_text` wrote; any other text is refused."""
    given = json.loads(text or "{}")
    if not isinstance(given, dict) or not all(isinstance(values, dict) for values in given.values()):
        raise ValueError(text)
    return given


_PARSERS: dict[str, Callable[[str], Any]] = {
    "models": _text_list,
    "methods": lambda text: _text_list(text) or list(Selection.param.methods.default),
    "classes": _id_list,
    "images": _id_list,
    "parameters": _parameters,
    "threshold": float,
    "filter": _predicate,
}


def read(query: str, state: Selection) -> list[str]:
    """Set on `state` what a URL's query says, one value at a time, so that one bad value costs no other.

    Parameters
    ----------
    query
        The query of a URL, with or without ``?``.
    state
        Changed in place; what the query does not name stays.

    Returns
    -------
    list of str
        One plain sentence for every value that was not understood.
    """
    given = _given(query)
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


def names(query: str) -> set[str]:
    """Return which parameters of the state a URL's query names, be it to say that nothing is chosen."""
    given = _given(query)
    return {name for name, key in URL_KEYS.items() if key in given}


def write(state: Selection) -> str:
    """Return the query (with ``?``) that says all that `state` says, defaults and empty choices included."""
    return f"?{urlencode({key: _text(getattr(state, name)) for name, key in URL_KEYS.items()}, safe=':,')}"


def _given(query: str) -> dict[str, str]:
    return dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))


def _text(value: Any) -> str:
    if isinstance(value, Predicate):
        set_ = {name: given for name, given in asdict(value).items() if given not in ((), None)}
        return json.dumps(set_, separators=(",", ":")) if set_ else ""
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, separators=(",", ":")) if value else ""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
