"""One explanation map with its numbers, its key, and how it is kept in a row of SQLite."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from numpy.typing import NDArray

_MEASURE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_INTEGERS = ("image_id", "method_version", "target_class_id", "height", "width", "predicted_class_id")


@dataclasses.dataclass(frozen=True, eq=False)
class StoredMap:
    """One explanation map and the numbers computed from it.

    Parameters
    ----------
    digest
        Key: `digest` of everything that the map depends on.
    model
        Canonical name, "provider:name".
    model_key
        Key of the model's card (weights, preprocessing and precision enter it).
    image_id
        The image, as in the relation `images`.
    image_sha256
        Hash of the image's file.
    method, method_version
        Explanation method and the version of its implementation.
    target_class_id
        The class that the map explains.
    parameters
        The method's parameters as canonical JSON.
    height, width
        Shape of `map`.
    map
        Float32 array (height, width) in [0, 1], min-max normalised.
    predicted_class_id, confidence
        The model's top-1 class for the image and its confidence in it.
    measures
        Numbers computed from the map, by name; NaN where undefined.
    flags
        What is wrong with the map, such as "constant map"; usually empty.
    seconds
        How long the map took to compute.
    created_at
        When it was computed, in UTC without time zone.
    """

    digest: str
    model: str
    model_key: str
    image_id: int
    image_sha256: str
    method: str
    method_version: int
    target_class_id: int
    parameters: str
    height: int
    width: int
    map: NDArray[np.float32]
    predicted_class_id: int
    confidence: float
    measures: dict[str, float]
    flags: list[str]
    seconds: float
    created_at: datetime


_TAKEN = frozenset(field.name for field in dataclasses.fields(StoredMap))


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that can be computed from a map: its name, its unit and one sentence about it."""

    name: str
    unit: str
    description: str


def digest(*fields: Any, **named: Any) -> str:
    """Return the key of what depends on exactly these values (SHA-256, 64 hexadecimal digits).

    Parameters
    ----------
    *fields, **named
        Strings, numbers, booleans, None, and lists or mappings of them. The order of mappings and of named
        values does not matter, that of the others does.

    Raises
    ------
    TypeError, ValueError
        If a value has no canonical JSON form.
    """
    text = json.dumps([fields, named], sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_measure(name: str) -> None:
    """Raise `ValueError` if a measure cannot be called `name`."""
    if not _MEASURE_NAME.fullmatch(name) or name in _TAKEN:
        raise ValueError(
            f"{name!r} cannot name a measure: use lower case letters, digits and underscores, and no name of "
            "another column of the explanations."
        )


def to_row(stored: StoredMap) -> dict[str, Any]:
    """Return the values of a map's row by column; `ValueError` as for `MapStore.put`."""
    if stored.map.dtype != np.float32 or stored.map.shape != (stored.height, stored.width):
        raise ValueError(
            f"A map must be float32 of shape ({stored.height}, {stored.width}); "
            f"it is {stored.map.dtype} of shape {stored.map.shape}."
        )
    for name in stored.measures:
        check_measure(name)
    values: dict[str, Any] = {
        field.name: getattr(stored, field.name) for field in dataclasses.fields(stored) if field.name != "map"
    }
    # JSON has no NaN; an undefined measure is null.
    measures = {name: float(value) if math.isfinite(value) else None for name, value in stored.measures.items()}
    return values | {
        "measures": json.dumps(measures, sort_keys=True),
        "flags": json.dumps(list(stored.flags)),
        "confidence": float(stored.confidence),
        "seconds": float(stored.seconds),
        "created_at": _utc(stored.created_at).isoformat(),
        **{name: int(values[name]) for name in _INTEGERS},
    }


def from_row(row: sqlite3.Row) -> dict[str, Any]:
    """Return the fields of `StoredMap`, without `map`, from a row."""
    fields: dict[str, Any] = {name: row[name] for name in row.keys() if name not in {"id", "pixels"}}  # noqa: SIM118
    measures: Mapping[str, float | None] = json.loads(fields["measures"])
    return fields | {
        "measures": {name: math.nan if value is None else value for name, value in measures.items()},
        "flags": json.loads(fields["flags"]),
        "created_at": datetime.fromisoformat(fields["created_at"]),
    }


def _utc(moment: datetime) -> datetime:
    """Return a moment in UTC without time zone; one without time zone is taken to be in UTC."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def encode_pixels(pixels: NDArray[np.float32]) -> bytes:
    """Compress a map without loss."""
    return zlib.compress(np.ascontiguousarray(pixels, dtype="<f4").tobytes(), level=1)


def decode_pixels(blob: bytes, height: int, width: int) -> NDArray[np.float32]:
    """Return the map of shape (height, width) that was compressed."""
    return np.frombuffer(zlib.decompress(blob), dtype="<f4").astype(np.float32).reshape(height, width)
