"""Sizes in bytes as people write them: `500M`, `4G`, `1.5 GiB`."""

from __future__ import annotations

import re

from warehouse.errors import UserError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def byte_size(text: str) -> int:
    """Return the number of bytes that a text means; K, M, G and T are powers of 1024.

    Raises
    ------
    UserError
        If it means none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{text!r} is no size in bytes: write it like 500M or 4G.")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])
