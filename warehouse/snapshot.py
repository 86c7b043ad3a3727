"""What a publish works from: the files that are there at one moment, and a fingerprint of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from warehouse.maps import MapStore
from warehouse.parts import DerivedStore, PartStore
from warehouse.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from warehouse.folder import Folder

NO_EXPLANATIONS = "none"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The complete parts and results of a warehouse at one moment.

    Attributes
    ----------
    classes, images, decoded, objects
        Names of the parts of these kinds.
    models
        Model key -> names of the shards that the model has predicted.
    derived
        Kind of derived file -> names.
    inputs
        Fingerprint of all of these and of the database's layout.
    explanations
        Fingerprint of the stored explanation maps.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    decoded: tuple[str, ...]
    objects: tuple[str, ...]
    models: Mapping[str, tuple[str, ...]]
    derived: Mapping[str, tuple[str, ...]]
    inputs: str
    explanations: str


def take_snapshot(folder: Folder) -> Snapshot:
    """List what is there now, newest kinds first.

    An ETL writes classes, then images, then predictions, then the model's card. Listing in the opposite order
    means that whatever a listed file refers to was there when its own kind was listed.
    """
    parts, derived = PartStore(folder), DerivedStore(folder)
    explanations = explanations_fingerprint(folder)
    runs = tuple(derived.names("runs"))
    keys = parts.names("models", "_")
    layouts = {kind: tuple(derived.names(kind)) for kind in ("class_layouts", "image_layouts")}
    models = {key: tuple(parts.names("predictions", key)) for key in keys}
    shards = {kind: tuple(parts.names(kind, "_")) for kind in ("decoded", "objects", "images", "classes")}
    # Parts never change, so their names tell all; derived files do, so their size and time count too.
    replaceable = {
        kind: tuple(name for name in names if kind == "runs" or name in models)
        for kind, names in {"runs": runs, **layouts}.items()
    }
    states = {kind: [_state(derived, kind, name) for name in names] for kind, names in replaceable.items()}
    inputs = _digest([SCHEMA_VERSION, _layout(), shards, models, states])
    return Snapshot(**shards, models=models, derived=replaceable, inputs=inputs, explanations=explanations)


def explanations_fingerprint(folder: Folder) -> str:
    """Return a text that changes when the stored explanation maps do."""
    if not folder.explanations.exists():
        return NO_EXPLANATIONS
    with MapStore(folder.explanations) as store:
        return store.fingerprint()


def sql(name: str) -> str:
    """Return the text of one of this package's `.sql` files."""
    return resources.files("warehouse").joinpath(name).read_text(encoding="utf-8")


def _layout() -> str:
    """Return a fingerprint of the database's layout: a new version of it is reason enough to publish."""
    return _digest([sql("schema.sql"), sql("aggregate.sql")])


def _state(derived: DerivedStore, kind: str, name: str) -> tuple[str, int, int]:
    try:
        status = derived.path(kind, name).stat()
    except FileNotFoundError:
        return name, 0, 0
    return name, status.st_size, status.st_mtime_ns


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
