"""The relation `explanations`: the numbers of every stored explanation map, one column a measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from warehouse.errors import WarehouseError
from warehouse.maps import MapStore, Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from warehouse.folder import Folder

_CHUNK_ROWS = 20_000

_COMMENT = (
    "The explanation maps that are kept; one row a map. The maps are in explanations.sqlite; when that is full"
    " the least recently used maps leave it, and this table at the next publish."
)

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
        _fill(connection, store, [measure.name for measure in measures])


def _fill(connection: duckdb.DuckDBPyConnection, store: MapStore, measures: Sequence[str]) -> None:
    kinds = {"INTEGER": pa.int32(), "DOUBLE": pa.float64()}
    columns = {name: kinds.get(kind, pa.string()) for name, (kind, _) in (_COLUMNS_BEFORE | _COLUMNS_AFTER).items()}
    schema = pa.schema({**columns, "measures": pa.string()})
    failures: list[WarehouseError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for chunk in store.columns(_CHUNK_ROWS):
                yield pa.record_batch(chunk, schema=schema)
        except WarehouseError as error:
            failures.append(error)
            raise

    # DuckDB would draw a progress bar on the standard output of whoever publishes. What is off stays untouched: in a
    # notebook without ipywidgets DuckDB refuses to switch it either way.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar = false")
    # One statement that draws chunk after chunk: a table registered for each would live until the commit.
    connection.register("stored_explanations", pa.RecordBatchReader.from_batches(schema, batches()))
    try:
        connection.execute(_insert(measures))
    except duckdb.Error:
        if failures:  # DuckDB only tells that something went wrong in Python
            raise failures[0] from None
        raise
    connection.unregister("stored_explanations")


def _insert(measures: Sequence[str]) -> str:
    """Return the statement that fills the table; DuckDB reads JSON faster than Python does."""
    own = {
        "created_at": "created_at::TIMESTAMP",
        "flags": """nullif(array_to_string(from_json(flags, '["VARCHAR"]'), '; '), '')""",
    }
    columns = [f"{own.get(name, name)} AS {name}" for name in (*_COLUMNS_BEFORE, *_COLUMNS_AFTER)]
    # A measure that is undefined for a map is null there, or not there at all.
    columns += [f"json_extract(measures, '$.{name}')::DOUBLE AS \"{name}\"" for name in measures]
    return f"INSERT INTO explanations BY NAME SELECT {', '.join(columns)} FROM stored_explanations"


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
