from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

import warehouse
from warehouse.folder import Folder
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish
from warehouse.schema import DERIVED_SCHEMAS, PART_SCHEMAS
from warehouse.stored_map import StoredMap, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=UTC).replace(tzinfo=None)


@dataclasses.dataclass
class Sample:
    """A small data set and the confidences of several models on it, and the files an ETL would make of them.

    Class 5 has no images. One image of class 0 cannot be read. One class name is made to break careless SQL and HTML.
    """

    seed: int = 0
    skills: tuple[float, ...] = (0.5, 2.0, 5.0)
    classes: int = 7
    shards: int = 3
    images_per_class: int = 8

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.names = [f"class {i}" for i in range(self.classes)]
        self.names[1] = 'o\'reilly <b>"x"</b>; DROP TABLE models; --'
        self.roots = [("animal", "plant", "tool's")[i % 3] for i in range(self.classes)]
        empty = {5} if self.classes > 5 else set()
        labels = np.array([c for c in range(self.classes) if c not in empty for _ in range(self.images_per_class)])
        self.labels = labels.astype(np.int32)
        self.image_ids = np.arange(len(labels), dtype=np.int32)
        self.skipped = np.zeros(len(labels), dtype=bool)
        self.skipped[3] = True
        self.models = [f"demo:net{i}" for i in range(len(self.skills))]
        self.confidences: dict[str, np.ndarray] = {}
        for model, skill in zip(self.models, self.skills, strict=True):
            logits = rng.normal(size=(len(labels), self.classes)) * 1.5
            logits[self.image_ids, labels] += skill
            exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
            self.confidences[model] = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
        self.layouts = {m: rng.normal(size=(self.classes, 2)).astype(np.float32) for m in self.models}
        self.image_layouts = {m: rng.normal(size=(len(labels), 2)).astype(np.float32) for m in self.models}

    @property
    def seen(self) -> np.ndarray:
        """Ids of the images that models predicted."""
        return self.image_ids[~self.skipped]

    def shard_ids(self, shard: int) -> np.ndarray:
        return np.array_split(self.image_ids, self.shards)[shard]

    def key(self, model: str) -> str:
        return model.replace(":", "-") + "-0123456789ab"

    # The files of an ETL -----------------------------------------------------------------------------------

    def write_facts(self, folder: Folder) -> None:
        parts, derived = PartStore(folder), DerivedStore(folder)
        table = {
            "class_id": np.arange(self.classes, dtype=np.int32),
            "wnid": [f"n{i:08d}" if i % 2 else None for i in range(self.classes)],
            "class_name": self.names,
            "root_class": self.roots,
        }
        parts.write("classes", "_", "table", pa.table(table, schema=PART_SCHEMAS["classes"]))
        for shard in range(self.shards):
            ids = self.shard_ids(shard)
            images = {
                "image_id": ids,
                "root": [str(folder.root.parent / "images")] * len(ids),
                "path": [f"c{self.labels[i]}/été {i}.png" for i in ids],
                "class_id": self.labels[ids],
                "bytes": 1000 + ids.astype(np.int64),
                "modified_ns": 10**18 + ids.astype(np.int64),
            }
            parts.write("images", "_", f"shard-{shard:05d}", pa.table(images, schema=PART_SCHEMAS["images"]))
            bad = self.skipped[ids]
            decoded = {
                "image_id": ids,
                "width": [None if b else int(96 + i) for i, b in zip(ids, bad, strict=True)],
                "height": [None if b else 80 for b in bad],
                "sha256": [None if b else f"{i:064x}" for i, b in zip(ids, bad, strict=True)],
                "reason": ["cannot identify image file" if b else None for b in bad],
            }
            parts.write("decoded", "_", f"shard-{shard:05d}", pa.table(decoded, schema=PART_SCHEMAS["decoded"]))
            objects = {
                "image_id": ids,
                "left": np.full(len(ids), 1, np.int32),
                "top": np.full(len(ids), 2, np.int32),
                "right": np.full(len(ids), 30, np.int32),
                "bottom": np.full(len(ids), 40, np.int32),
                "mask": [b"\x89PNG%d" % i for i in ids],
            }
            parts.write("objects", "_", f"shard-{shard:05d}", pa.table(objects, schema=PART_SCHEMAS["objects"]))
        run = {
            "run_id": ["run-1"],
            "started_at": [MOMENT],
            "finished_at": [None],
            "status": ["running"],
            "command": ["vacpanel etl 'images' --models net0"],
            "images": ["/images"],
            "versions": ['{"duckdb": "2.0.0"}'],
            "message": [None],
        }
        derived.write("runs", "run-1", pa.table(run, schema=DERIVED_SCHEMAS["runs"]), "")

    def write_shard(self, folder: Folder, model: str, shard: int) -> None:
        parts, key, name = PartStore(folder), self.key(model), f"shard-{shard:05d}"
        ids = np.array([i for i in self.shard_ids(shard) if not self.skipped[i]], dtype=np.int32)
        p, labels = self.confidences[model][ids], self.labels[ids]
        present = np.unique(labels)
        sums = {
            "class_id": present,
            "images": np.array([(labels == c).sum() for c in present], dtype=np.int64),
            "sum_confidence": [p[labels == c].astype(np.float64).sum(axis=0) for c in present],
        }
        parts.write("confidences", key, name, pa.table(sums, schema=PART_SCHEMAS["confidences"]))
        order = np.argsort(-p, axis=1, kind="stable").astype(np.int32)
        rows = np.arange(len(ids))
        columns = {
            "image_id": ids,
            "class_id": labels,
            "predicted_class_id": order[:, 0],
            "confidence": p[rows, order[:, 0]],
            "true_confidence": p[rows, labels],
            "true_rank": (1 + (order == labels[:, None]).argmax(axis=1)).astype(np.int32),
        }
        for rank in range(2, 6):
            enough = rank <= self.classes
            columns[f"class_id_{rank}"] = order[:, rank - 1] if enough else [None] * len(ids)
            columns[f"confidence_{rank}"] = p[rows, order[:, rank - 1]] if enough else [None] * len(ids)
        parts.write("predictions", key, name, pa.table(columns, schema=PART_SCHEMAS["predictions"]))

    def card(self, model: str, /, **changes: object) -> pa.Table:
        index = self.models.index(model)
        values = {
            "key": self.key(model),
            "model": model,
            "label": model.split(":")[1],
            "family": "Net",
            "source": "demo",
            "parameters": 1000 * (index + 1),
            "flops": None if index == 0 else 2_000_000,
            "input_size": 96,
            "latency_ms": None if index == 0 else 1.5,
            "images_per_second": 250.0,
            "precision": "float32",
            "weights_sha256": "ab" * 32,
            "preprocess": "resize 96",
            "layer": "features",
            "created_at": MOMENT + timedelta(seconds=index),
        }
        return pa.table({k: [v] for k, v in (values | changes).items()}, schema=PART_SCHEMAS["models"])

    def write_card(self, folder: Folder, model: str, /, **changes: object) -> None:
        card = self.card(model, **changes)
        PartStore(folder).write("models", "_", card["key"][0].as_py(), card)

    def write_layouts(self, folder: Folder, model: str) -> None:
        derived, key = DerivedStore(folder), self.key(model)
        x, y = self.layouts[model].T
        table = pa.table({"class_id": np.arange(self.classes, dtype=np.int32), "x": x, "y": y})
        derived.write("class_layouts", key, table.cast(DERIVED_SCHEMAS["class_layouts"]), "inputs")
        x, y = self.image_layouts[model][self.seen].T
        table = pa.table({"image_id": self.seen, "x": x, "y": y})
        derived.write("image_layouts", key, table.cast(DERIVED_SCHEMAS["image_layouts"]), "inputs")

    def write_model(self, folder: Folder, model: str) -> None:
        for shard in range(self.shards):
            self.write_shard(folder, model, shard)
        self.write_card(folder, model)
        self.write_layouts(folder, model)

    def write(self, folder: Folder) -> None:
        self.write_facts(folder)
        for model in self.models:
            self.write_model(folder, model)


@pytest.fixture(scope="session")
def moment() -> datetime:
    """When everything in `sample` happened (UTC)."""
    return MOMENT


@pytest.fixture(scope="session")
def make_sample() -> type[Sample]:
    """The class, for tests that need another data set (test modules cannot import a conftest)."""
    return Sample


@pytest.fixture(scope="session")
def sample() -> Sample:
    return Sample()


@pytest.fixture(scope="session")
def _template(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("template") / "w").create()
    sample.write(folder)
    publish(folder)
    return folder


@pytest.fixture(scope="session")
def published(_template: Folder) -> Folder:
    """A published warehouse of `sample` that no test changes."""
    return _template


@pytest.fixture(scope="session")
def w(published: Folder) -> Iterator[warehouse.Warehouse]:
    with warehouse.open(published.root) as opened:
        yield opened


@pytest.fixture
def own(_template: Folder, tmp_path: Path) -> Folder:
    """A published warehouse of `sample` that the test may change."""
    shutil.copytree(_template.root, tmp_path / "own", symlinks=True)
    return Folder.at(tmp_path / "own")


@pytest.fixture
def empty(tmp_path: Path) -> Folder:
    """A warehouse without anything in it, not published."""
    return Folder(tmp_path / "it's [new]").create()


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[warehouse.Warehouse]:
    """A published warehouse without anything in it."""
    folder = Folder(tmp_path_factory.mktemp("blank") / "w").create()
    publish(folder)
    with warehouse.open(folder.root) as opened:
        yield opened


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Sample], Folder]:
    """Return a function that publishes a warehouse of a given sample."""

    def make(sample: Sample) -> Folder:
        folder = Folder(tmp_path / "built").create()
        sample.write(folder)
        publish(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def make_map() -> Callable[..., StoredMap]:
    """Return a function that makes a map to store; every field can be given."""

    def make(**changes: Any) -> StoredMap:
        image_id = changes.get("image_id", 1)
        values = {
            "digest": digest(**{k: str(v) for k, v in changes.items()}),
            "model": "demo:net1",
            "model_key": "demo-net1-0123456789ab",
            "image_id": 1,
            "image_sha256": f"{image_id:064x}",
            "method": "grad-cam",
            "method_version": 1,
            "target_class_id": 4,
            "parameters": "{}",
            "map": np.random.default_rng(image_id).random((3, 5), dtype=np.float32),
            "predicted_class_id": 4,
            "confidence": 0.75,
            "measures": {},
            "flags": [],
            "seconds": 0.0625,
            "created_at": MOMENT,
        } | changes
        height, width = values["map"].shape
        return StoredMap(**({"height": height, "width": width} | values))

    return make
