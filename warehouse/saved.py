"""Views that people saved by name: one small file each, beside the warehouse."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from warehouse import files
from warehouse.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from warehouse.folder import Folder

LONGEST_NAME = 60
MOST = 200  # anybody who sees the dashboard may save
MOST_BYTES = 32_768  # of a query


def saved_views(folder: Folder) -> dict[str, str]:
    """Return the saved views: name to query of a link, by name."""
    found = {}
    for file in _place(folder).glob("*.json"):
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            found[str(kept["name"])] = str(kept["query"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # deleted this moment, or not ours
    return dict(sorted(found.items(), key=lambda view: view[0].casefold()))


def save_view(folder: Folder, name: str, query: str) -> None:
    """Save a view; one of the same name is replaced.

    Parameters
    ----------
    folder
        The warehouse.
    name
        What people call it.
    query
        The query of a link to it.

    Raises
    ------
    UserError
        If the name is empty or too long, or there are too many saved views, or the folder cannot be written.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise UserError(f"A saved view needs a name of 1 to {LONGEST_NAME} characters.")
    if len(query.encode()) > MOST_BYTES:
        raise UserError("This view is too large to be saved: choose fewer classes or images.")
    existing = saved_views(folder)
    if name not in existing and len(existing) >= MOST:
        raise UserError(f"There are {MOST} saved views already: delete one first.")
    file = _file(folder, name)
    try:
        file.parent.mkdir(exist_ok=True)
        files.replace_text(file, json.dumps({"name": name, "query": query}, ensure_ascii=False))
    except OSError as error:
        raise UserError(f"The view could not be saved in {file.parent}: {error.strerror or error}.") from error


def delete_view(folder: Folder, name: str) -> None:
    """Delete a saved view, if there is one of this name."""
    _file(folder, name).unlink(missing_ok=True)


def _place(folder: Folder) -> Path:
    return folder.root / "views"


def _file(folder: Folder, name: str) -> Path:
    # Names are for people: only their hash touches the file system.
    return _place(folder) / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
