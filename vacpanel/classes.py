"""Classes by the names that people type and read."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping


def class_named(classes: Mapping[str, Any], text: str) -> int:
    """Return the class id that a person means by an id, a WordNet id or a name.

    Raises
    ------
    UserError
        If no class, or more than one, is called so.
    """
    ids = [int(class_id) for class_id in classes["class_id"]]
    if text.isdigit() and int(text) in ids:
        return int(text)
    names = dict(zip(ids, map(str, classes["class_name"]), strict=True))
    wnids = dict(zip(ids, classes["wnid"], strict=True))
    found = [i for i in ids if text == wnids[i] or text.casefold() == names[i].casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{len(found)} classes are called {text!r}: name one by its id, {' or '.join(map(str, found))}."
        )
    close = difflib.get_close_matches(text, names.values(), n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"ids run from {min(ids)} to {max(ids)}."
    raise UserError(f"This warehouse has no class {text!r}; {hint}")
