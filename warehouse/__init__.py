"""The warehouse: a folder of predictions, accuracies, distances and explanations of many image classifiers.

``warehouse.open("demo")`` answers questions about it; any DuckDB client can query the ``warehouse.duckdb`` in
it.
"""

from __future__ import annotations

from warehouse.errors import UserError, VacpanelError, WarehouseError
from warehouse.schema import SCHEMA_VERSION
from warehouse.store import Warehouse, open  # noqa: A004

__all__ = ["SCHEMA_VERSION", "UserError", "VacpanelError", "Warehouse", "WarehouseError", "open"]
