"""Class tables in CSV files of users, checked line by line."""

from __future__ import annotations

import csv
from pathlib import Path

from etl.classes import ClassTable, ClassTableError

COLUMNS = ("class_id", "wnid", "class_name", "root_class")
"""Columns of a class table's CSV file."""

HEADER = ",".join(COLUMNS)


def read_class_csv(path: Path | str) -> ClassTable:
    """Read a class table from a CSV file with the header ``class_id,wnid,class_name,root_class``.

    Parameters
    ----------
    path
        UTF-8; ``wnid`` may be empty; the ids are 0 to N-1 in any order.

    Raises
    ------
    ClassTableError
        If the file cannot be read, or an id, a name or a WordNet id is missing, malformed or there twice; the
        message names the line.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise ClassTableError(
                    f"The class table {path} has no column {', '.join(missing)}; its header must be {HEADER}."
                )
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise ClassTableError(f"The class table {path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ClassTableError(f"The class table {path} is not a CSV file in UTF-8: {error}") from error
    by_id: dict[int, tuple[str, str, str | None]] = {}
    for line, row in rows:
        class_id, entry = _parse(row, f"line {line} of the class table {path}")
        if class_id in by_id:
            raise ClassTableError(
                f"class_id {class_id} is there twice, again in line {line} of the class table {path}."
            )
        by_id[class_id] = entry
    if not by_id:
        raise ClassTableError(f"The class table {path} holds no class.")
    gap = next((i for i in range(len(by_id)) if i not in by_id), None)
    if gap is not None:
        raise ClassTableError(
            f"The class table {path} has {len(by_id)} classes but no class_id {gap}; ids must be 0 to {len(by_id) - 1}."
        )
    names, roots, wnids = zip(*(by_id[i] for i in range(len(by_id))), strict=True)
    table = ClassTable(names, roots, wnids)
    _check_distinct(table, path)
    return table


def _parse(row: dict[str, str | None], where: str) -> tuple[int, tuple[str, str, str | None]]:
    values = {column: (row.get(column) or "").strip() for column in COLUMNS}
    try:
        class_id = int(values["class_id"])
    except ValueError:
        raise ClassTableError(f"class_id must be a whole number, not {values['class_id']!r}, in {where}.") from None
    for column in ("class_name", "root_class"):
        if not values[column]:
            raise ClassTableError(f"{column} is empty in {where}.")
    if class_id < 0:
        raise ClassTableError(f"class_id must not be negative in {where}.")
    return class_id, (values["class_name"], values["root_class"], values["wnid"] or None)


def _check_distinct(table: ClassTable, path: Path) -> None:
    seen: dict[str, int] = {}
    for class_id, wnid in enumerate(table.wnids):
        if wnid is not None and seen.setdefault(wnid, class_id) != class_id:
            raise ClassTableError(
                f"The wnid {wnid} belongs to class_id {seen[wnid]} and {class_id} of the class table {path}."
            )
    ids_by_name: dict[str, list[int]] = {}
    for class_id, name in enumerate(table.names):
        ids_by_name.setdefault(name, []).append(class_id)
    for ids in ids_by_name.values():
        if len(ids) > 1 and not all(table.wnids[i] for i in ids):
            raise ClassTableError(
                f"The class_name {table.names[ids[0]]!r} belongs to class_id {ids[0]} and {ids[1]} of the class table "
                f"{path}; give both a wnid, or rename one."
            )
