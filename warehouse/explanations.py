"""The relation `explanations`: the numbers of every stored explanation map, one column a measure."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from warehouse.maps import MapStore, Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from warehouse.folder import Folder

_CHUNK_ROWS = 50_000

_COMMENT = "The explanation maps computed so far; one row a map. The maps themselves are in explanations.sqlite."

_COLUMNS_BEFORE = {
    "model": ("VARCHAR", "The model that was explained."),
    "image_id": ("INTEGER", "The image that was explained."),
    "method": ("VARCHAR", "Explanation method."),
    "target_class_id": ("INTEGER", "Class that the map explains."),
    "parameters": ("VARCHAR", "The method's parameters as a JSON object."),
    "created_at": ("TIMESTAMP", "When the map was computed (UTC)."),
}
_COLUMNS_AFTER = {
    "predicted_class_id": ("INTEGER", "Class that the model predicted for the image."),
    "confidence": ("DOUBLE", "Confidence of that prediction, in [0, 1]."),
    # Text, not a list: DuckDB 1.0 cannot read a column of lists that are all empty (written by 2.0).
    "flags": ("VARCHAR", "What is wrong with the map, such as constant map, separated by semicolons; else NULL."),
    "seconds": ("DOUBLE", "Seconds that the map took to compute."),
    "height": ("INTEGER", "Rows of the map as the method made it."),
    "width": ("INTEGER", "Columns of the map as the method made it."),
    "method_version": ("INTEGER", "Version of the method's implementation."),
    "model_key": ("VARCHAR", "Key of the model with its weights and preprocessing, as in models."),
    "image_sha256": ("VARCHAR", "SHA-256 of the image's file."),
    "digest": ("VARCHAR", "Key of the map in explanations.sqlite."),
}
_ALWAYS = (
    Measure("roi_area", "", "Region of interest: share of the map's pixels above the threshold, in [0, 1]."),
    Measure("entropy", "", "Spread of attention: Shannon entropy of the map."),
    Measure("total_variation", "", "Roughness of the map: total variation."),
)


def write_explanations(connection: duckdb.DuckDBPyConnection, folder: Folder) -> None:
    """Make the table `explanations` anew from the warehouse's map store."""
    if not folder.explanations.exists():
        _create_table(connection, list(_ALWAYS))
        return
    with MapStore(folder.explanations) as store:
        measures = _measures(store.measures())
        _create_table(connection, measures)
        names = [measure.name for measure in measures]
        rows = store.rows()
        while chunk := list(itertools.islice(rows, _CHUNK_ROWS)):
            connection.register("part_explanations", _arrow(chunk, names))
            connection.execute("INSERT INTO explanations BY NAME SELECT * FROM part_explanations")
            connection.unregister("part_explanations")


def _measures(found: Iterable[Measure]) -> list[Measure]:
    """Return the three measures that are always there, described, and the others after them."""
    others = {measure.name: measure for measure in found}
    always = {measure.name: measure for measure in _ALWAYS}
    for name, measure in always.items():
        own = others.pop(name, measure)
        always[name] = own if own.description else measure
    return [*always.values(), *others.values()]


def _create_table(connection: duckdb.DuckDBPyConnection, measures: Sequence[Measure]) -> None:
    columns = {
        **_COLUMNS_BEFORE,
        **{measure.name: ("DOUBLE", _sentence(measure)) for measure in measures},
        **_COLUMNS_AFTER,
    }
    definitions = ", ".join(f'"{name}" {kind}' for name, (kind, _) in columns.items())
    connection.execute("DROP TABLE IF EXISTS explanations")
    connection.execute(f"CREATE TABLE explanations ({definitions})")
    connection.execute(f"COMMENT ON TABLE explanations IS {_literal(_COMMENT)}")
    for name, (_, comment) in columns.items():
        connection.execute(f'COMMENT ON COLUMN explanations."{name}" IS {_literal(comment)}')


def _sentence(measure: Measure) -> str:
    description = measure.description or "A number computed from the map."
    return f"{description} Unit: {measure.unit}." if measure.unit else description


def _literal(text: str) -> str:
    # COMMENT takes no parameters; a doubled quote is all that a SQL string needs.
    return "'" + text.replace("'", "''") + "'"


def _arrow(rows: Sequence[dict[str, Any]], measures: Sequence[str]) -> pa.Table:
    rows = [row | {"flags": "; ".join(row["flags"]) or None} for row in rows]
    kinds = {"flags": pa.string(), "created_at": pa.timestamp("us")}
    columns = {
        name: pa.array([row[name] for row in rows], type=kinds.get(name))
        for name in (*_COLUMNS_BEFORE, *_COLUMNS_AFTER)
    }
    # NaN marks a measure that is undefined for the map: a missing value to SQL.
    values = {
        name: pa.array([row["measures"].get(name) for row in rows], type=pa.float64(), from_pandas=True)
        for name in measures
    }
    return pa.table({**columns, **values})
