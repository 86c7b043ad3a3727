"""Class tables: the ids, names and root classes that a warehouse counts in."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import pyarrow as pa

from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT_OF_ALL = "all"
"""Root class where none is known."""

_WNID = re.compile(r"n\d{8}")


class ClassTableError(UserError):
    """A class table, or the match of folders or model outputs to it, is wrong; the message says where."""


@dataclass(frozen=True)
class ClassTable:
    """The classes of a warehouse; position is the class id.

    Attributes
    ----------
    names
        Name of each class; two classes may share one if their WordNet ids differ.
    roots
        Root class of each class.
    wnids
        WordNet id of each class, or None.
    """

    names: tuple[str, ...]
    roots: tuple[str, ...]
    wnids: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """SHA-256 of the table, hexadecimal."""
        text = json.dumps([self.names, self.roots, self.wnids], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_arrow(self) -> pa.Table:
        """Columns class_id (int32), wnid, class_name, root_class (strings)."""
        return pa.table(
            {
                "class_id": pa.array(range(len(self)), pa.int32()),
                "wnid": pa.array(self.wnids, pa.string()),
                "class_name": pa.array(self.names, pa.string()),
                "root_class": pa.array(self.roots, pa.string()),
            }
        )

    @staticmethod
    def from_arrow(table: pa.Table) -> ClassTable:
        """Read what :meth:`to_arrow` gave."""
        rows = table.sort_by("class_id").to_pydict()
        return ClassTable(tuple(rows["class_name"]), tuple(rows["root_class"]), tuple(rows["wnid"]))


@lru_cache(maxsize=1)
def imagenet() -> ClassTable:
    """Return the 1000 classes of ImageNet-1k in their usual order (of WordNet ids), with eight root classes."""
    text = files("etl").joinpath("data/imagenet_classes.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return ClassTable(
        tuple(r["class_name"] for r in rows), tuple(r["root_class"] for r in rows), tuple(r["wnid"] for r in rows)
    )


def from_folders(names: Iterable[str]) -> ClassTable:
    """Take folder names as classes, in sorted order, all with the root class ``"all"``."""
    return from_names(sorted(names))


def from_names(names: Sequence[str], wnids: Sequence[str] | None = None) -> ClassTable:
    """Take a model's outputs as classes, in their order: ImageNet's table if the WordNet ids are ImageNet's."""
    if wnids is not None and tuple(wnids) == imagenet().wnids:
        return imagenet()
    return ClassTable(
        tuple(names), (ROOT_OF_ALL,) * len(names), tuple(wnids) if wnids is not None else (None,) * len(names)
    )


def is_wnid(name: str) -> bool:
    """Tell whether a folder name is a WordNet id such as ``n02012849``."""
    return _WNID.fullmatch(name) is not None


def match_folders(table: ClassTable, folders: Iterable[str]) -> dict[str, int]:
    """Find the class of each class folder: by WordNet id, else by name.

    Names are compared as they are first, then without regard to case, with ``_`` as a blank.

    Parameters
    ----------
    table
        The class table.
    folders
        Folder names.

    Returns
    -------
    dict of str to int
        Class id of every folder.

    Raises
    ------
    ClassTableError
        If a folder matches no class, or the name of more than one, or two folders match one class.
    """
    by_wnid = {wnid: i for i, wnid in enumerate(table.wnids) if wnid}
    exact, loose = _index(table.names, str), _index(table.names, normalise)
    matches: dict[str, int] = {}
    owner: dict[int, str] = {}
    for folder in folders:
        ids = [by_wnid[folder]] if folder in by_wnid else exact.get(folder) or loose.get(normalise(folder), [])
        if not ids:
            raise ClassTableError(
                f"The class folder {folder!r} matches no wnid and no class_name among the {len(table)} classes."
            )
        if len(ids) > 1:
            named = " and ".join(table.wnids[i] or f"class_id {i}" for i in ids)
            raise ClassTableError(
                f"The class folder {folder!r} fits more than one class, {named}; rename it to the wnid that is meant."
            )
        if ids[0] in owner:
            raise ClassTableError(f"The class folders {owner[ids[0]]!r} and {folder!r} are both class {ids[0]}.")
        owner[ids[0]] = folder
        matches[folder] = ids[0]
    return matches


def match_outputs(
    table: ClassTable, outputs: int, names: Sequence[str] | None, wnids: Sequence[str] | None
) -> tuple[int, ...] | None:
    """Find the model output of each class.

    By WordNet id where both sides know them, else by name, else by position if the numbers agree and no name
    contradicts. A model may have more outputs than the table has classes (ImageNet's 1000 on a subset): the others
    are left out before the softmax, as is usual for ImageNet's subsets.

    Parameters
    ----------
    table
        The class table.
    outputs
        Number of the model's outputs.
    names, wnids
        Of each output, if known.

    Returns
    -------
    tuple of int, or None
        Output of each class id; None if it is the identity.

    Raises
    ------
    ClassTableError
        If a class has no output.
    """
    order: list[int | None]
    if wnids is not None and all(table.wnids):
        position = {wnid: i for i, wnid in enumerate(wnids)}
        order = [position.get(wnid) for wnid in table.wnids]  # type: ignore[arg-type]
        known = "wnid"
    elif outputs == len(table) and (names is None or not _contradiction(table.names, names)):
        return None
    elif names is not None:
        ours, theirs = _index(table.names, normalise), _index(names, normalise)
        # A name that is there twice, on either side, does not tell which is meant.
        hits = [(ours[normalise(name)], theirs.get(normalise(name), [])) for name in table.names]
        order = [found[0] if len(ids) == len(found) == 1 else None for ids, found in hits]
        known = "class_name"
    else:
        raise ClassTableError(f"it has {outputs} outputs of unknown names, the class table has {len(table)} classes")
    lost = [i for i, output in enumerate(order) if output is None]
    if lost:
        shown = ", ".join(repr(table.wnids[i] if known == "wnid" else table.names[i]) for i in lost[:3])
        raise ClassTableError(
            f"{len(lost)} of {len(table)} classes are none of its {outputs} outputs by {known}: {shown}"
        )
    found = tuple(i for i in order if i is not None)
    return None if found == tuple(range(outputs)) else found


def normalise(name: str) -> str:
    """Prepare a class name for comparison: lower case, blanks for underscores."""
    return " ".join(name.replace("_", " ").casefold().split())


def _contradiction(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether no name is in common, or one that is unique on both sides stands at different positions."""
    a, b = _index(ours, normalise), _index(theirs, normalise)
    return not a.keys() & b.keys() or any(
        len(ids) == 1 and len(b.get(name, ())) == 1 and b[name] != ids for name, ids in a.items()
    )


def _index(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    index: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        index.setdefault(key(name), []).append(i)
    return index
