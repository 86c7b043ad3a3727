"""Publishing and querying at scale: ``python -m benchmarks.queries``.

Predictions are drawn at random and written as the parts that an ETL would write: of 13 models for 50,000 images, and
of 50 models for a million, both of 1000 classes. Then the real ``publish`` runs in a process of its own, and every
question of `warehouse.Warehouse` is asked in another: first with the file out of the operating system's memory, then
with other arguments each time. Ends with status 1 if something takes longer than it may.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import warehouse
from benchmarks.maps import forget
from benchmarks.timing import machine
from warehouse.folder import Folder
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish
from warehouse.schema import DERIVED_SCHEMAS, PART_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

CLASSES = 1000
ROOTS = ("bird", "dog", "reptile", "fish", "insect", "mammal", "vehicle", "device", "garment", "food", "place", "other")
NOW = datetime.now(UTC).replace(tzinfo=None)


@dataclasses.dataclass(frozen=True)
class Size:
    """How much there is, and what it may cost at most."""

    models: int
    images: int
    shard: int
    publish_s: float
    aggregate_ms: float
    query_ms: float


SIZES = {
    "imagenet": Size(13, 50_000, 512, publish_s=60, aggregate_ms=20, query_ms=20),
    "million": Size(50, 1_000_000, 2048, publish_s=60, aggregate_ms=10, query_ms=150),
}


# What an ETL leaves behind ---------------------------------------------------------------------------------------


def shards(size: Size) -> Iterator[tuple[str, slice]]:
    for number, start in enumerate(range(0, size.images, size.shard)):
        yield f"shard-{number:05d}", slice(start, min(start + size.shard, size.images))


def labels(size: Size) -> NDArray[np.int32]:
    """Return the true classes in the order of an image folder."""
    return np.sort(np.arange(size.images, dtype=np.int32) % CLASSES)


def key(model: int) -> str:
    return f"torchvision-net{model:02d}-0123456789ab"


def write_facts(folder: Folder, size: Size) -> None:
    """Write the class table and the register of images."""
    parts, rng, y = PartStore(folder), np.random.default_rng(0), labels(size)
    table = {
        "class_id": np.arange(CLASSES, dtype=np.int32),
        "wnid": [f"n{i:08d}" for i in range(CLASSES)],
        "class_name": [f"class {i}" for i in range(CLASSES)],
        "root_class": [ROOTS[i * len(ROOTS) // CLASSES] for i in range(CLASSES)],
    }
    parts.write("classes", "_", "table", pa.table(table, schema=PART_SCHEMAS["classes"]))
    for name, rows in shards(size):
        ids = np.arange(rows.start, rows.stop, dtype=np.int32)
        hexadecimal = rng.bytes(32 * len(ids)).hex()
        images = {
            "image_id": ids,
            "root": ["/data/imagenet/val"] * len(ids),
            "path": [f"n{y[i]:08d}/ILSVRC2012_val_{i:08d}.JPEG" for i in ids.tolist()],
            "class_id": y[rows],
            "bytes": rng.integers(20_000, 200_000, len(ids)),
            "modified_ns": np.full(len(ids), 10**18),
        }
        decoded = {
            "image_id": ids,
            "width": rng.integers(200, 600, len(ids), dtype=np.int32),
            "height": rng.integers(200, 600, len(ids), dtype=np.int32),
            "sha256": [hexadecimal[i : i + 64] for i in range(0, len(hexadecimal), 64)],
            "reason": pa.nulls(len(ids), pa.string()),
        }
        parts.write("images", "_", name, pa.table(images, schema=PART_SCHEMAS["images"]))
        parts.write("decoded", "_", name, pa.table(decoded, schema=PART_SCHEMAS["decoded"]))


def write_model(folder: Folder, size: Size, model: int) -> None:
    """Write everything that belongs to one model."""
    parts, derived, rng, y = PartStore(folder), DerivedStore(folder), np.random.default_rng(model), labels(size)
    predictions = draw_predictions(rng, y, accuracy=rng.beta(8, 3, CLASSES))
    means = rng.exponential(1.0, (CLASSES, CLASSES)) ** 4
    means /= means.sum(axis=1, keepdims=True)
    for name, rows in shards(size):
        present, counts = np.unique(y[rows], return_counts=True)
        sums = pa.array((means[present] * counts[:, None]).ravel())
        offsets = np.arange(0, len(sums) + 1, CLASSES, dtype=np.int32)
        confidences = {
            "class_id": present,
            "images": counts,
            "sum_confidence": pa.ListArray.from_arrays(offsets, sums),
        }
        parts.write("confidences", key(model), name, pa.table(confidences).cast(PART_SCHEMAS["confidences"]))
        parts.write("predictions", key(model), name, predictions[rows.start : rows.stop])
    x, y2 = rng.normal(0, 20, (2, CLASSES)).astype(np.float32)
    layout = pa.table({"class_id": np.arange(CLASSES, dtype=np.int32), "x": x, "y": y2})
    derived.write("class_layouts", key(model), layout.cast(DERIVED_SCHEMAS["class_layouts"]), "benchmark")
    card = {
        "key": key(model),
        "model": f"torchvision:net{model:02d}",
        "label": f"net{model:02d}",
        "family": f"Family {model % 5}",
        "source": "torchvision",
        "parameters": 10**6 * (model + 1),
        "flops": 10**9,
        "input_size": 224,
        "latency_ms": 10.0,
        "images_per_second": 100.0,
        "precision": "float32",
        "weights_sha256": "0" * 64,
        "preprocess": "",
        "layer": None,
        "created_at": NOW,
    }
    parts.write("models", "_", key(model), pa.table({k: [v] for k, v in card.items()}, schema=PART_SCHEMAS["models"]))


def draw_predictions(rng: np.random.Generator, y: NDArray[np.int32], accuracy: NDArray[np.float64]) -> pa.Table:
    """Draw what a model says about images: right as often as the class' accuracy, else one of some similar classes."""
    count = len(y)
    right = rng.random(count) < accuracy[y]
    rank = np.where(right, 1, np.minimum(1 + rng.geometric(0.35, count), CLASSES)).astype(np.int32)
    top = (y[:, None] + np.cumsum(rng.integers(1, 8, (count, 5), dtype=np.int32), axis=1, dtype=np.int32)) % CLASSES
    among = np.flatnonzero(rank <= 5)
    top[among, rank[among] - 1] = y[among]
    chance = rng.random((count, 6), dtype=np.float32)
    confidence = np.empty((count, 5), np.float32)
    confidence[:, 0] = 0.1 + 0.9 * np.sqrt(chance[:, 0])
    left = 1 - confidence[:, 0]
    for place in range(1, 5):
        confidence[:, place] = np.minimum(confidence[:, place - 1], left) * chance[:, place]
        left -= confidence[:, place]
    true_confidence = confidence[:, 4] * chance[:, 5]
    true_confidence[among] = confidence[among, rank[among] - 1]
    columns = {
        "image_id": np.arange(count, dtype=np.int32),
        "class_id": y,
        "predicted_class_id": top[:, 0],
        "confidence": confidence[:, 0],
        "true_confidence": true_confidence,
        "true_rank": rank,
        **{f"class_id_{place + 1}": top[:, place] for place in range(1, 5)},
        **{f"confidence_{place + 1}": confidence[:, place] for place in range(1, 5)},
    }
    return pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()}).cast(
        PART_SCHEMAS["predictions"]
    )


# What dashboards ask ---------------------------------------------------------------------------------------------


def questions(w: warehouse.Warehouse, size: Size) -> dict[str, tuple[bool, Callable[[np.random.Generator], object]]]:
    """Return by name: whether it is an aggregate, and the call with arguments drawn anew."""

    def model(rng: np.random.Generator) -> str:
        return f"torchvision:net{rng.integers(size.models):02d}"

    def some_models(rng: np.random.Generator, count: int) -> list[str]:
        return [f"torchvision:net{i:02d}" for i in sorted(rng.choice(size.models, count, replace=False).tolist())]

    def some_images(rng: np.random.Generator, count: int) -> list[int]:
        return rng.integers(0, size.images, count).tolist()

    def of_a_class(rng: np.random.Generator) -> list[int]:
        return w.images_of(int(rng.integers(CLASSES)), limit=20)["image_id"].tolist()

    return {
        "summary()": (True, lambda _: w.summary()),
        "models()": (True, lambda _: w.models()),
        "model_row(model)": (True, lambda rng: w.model_row(model(rng))),
        "classes()": (True, lambda _: w.classes()),
        "roots()": (True, lambda _: w.roots()),
        "root_accuracy()": (True, lambda _: w.root_accuracy()),
        "class_accuracy(model)": (True, lambda rng: w.class_accuracy(model(rng))),
        "class_accuracy_of(1 class)": (True, lambda rng: w.class_accuracy_of(rng.integers(0, CLASSES, 1))),
        "class_accuracy_of(20 classes)": (True, lambda rng: w.class_accuracy_of(rng.integers(0, CLASSES, 20))),
        "root_class_accuracy(root)": (True, lambda rng: w.root_class_accuracy(str(rng.choice(ROOTS)))),
        "class_spread()": (True, lambda _: w.class_spread()),
        "class_layout(model)": (True, lambda rng: w.class_layout(model(rng))),
        "nearest_classes(model, class, 10)": (
            False,
            lambda rng: w.nearest_classes(model(rng), int(rng.integers(CLASSES)), 10),
        ),
        "images_of(class)": (False, lambda rng: w.images_of(int(rng.integers(CLASSES)))),
        "images_of(class, limit=40)": (False, lambda rng: w.images_of(int(rng.integers(CLASSES)), limit=40)),
        "image(image)": (False, lambda rng: w.image(int(rng.integers(size.images)))),
        "predictions(1 model, 1 image)": (False, lambda rng: w.predictions([model(rng)], some_images(rng, 1))),
        "predictions(6 models, 1 image)": (False, lambda rng: w.predictions(some_models(rng, 6), some_images(rng, 1))),
        "predictions(all models, 1 image)": (
            False,
            lambda rng: w.predictions(some_models(rng, size.models), some_images(rng, 1)),
        ),
        "predictions(1 model, 20 of a class)": (False, lambda rng: w.predictions([model(rng)], of_a_class(rng))),
        "predictions(6 models, 20 anywhere)": (
            False,
            lambda rng: w.predictions(some_models(rng, 6), some_images(rng, 20)),
        ),
    }


def ask(folder: Folder, size: Size, calls: int) -> None:
    """Time all questions; print {question: [aggregate, cold, median, p95]} in milliseconds as JSON."""
    number = folder.current_generation()
    assert number is not None
    file = folder.generation_file(number)
    forget(file)
    rng = np.random.default_rng(0)
    with warehouse.open(folder.root) as w:
        asked = questions(w, size)
        cold = {name: milliseconds(call, rng) for name, (_, call) in asked.items()}
        with file.open("rb") as content:  # back into the operating system's memory
            while content.read(1 << 24):
                pass
        warm = {name: [milliseconds(call, rng) for _ in range(calls)] for name, (_, call) in asked.items()}
    quantiles = {name: np.quantile(times, (0.5, 0.95)).tolist() for name, times in warm.items()}
    print(json.dumps({name: [asked[name][0], cold[name], *quantiles[name]] for name in asked}))


def milliseconds(call: Callable[[np.random.Generator], object], rng: np.random.Generator) -> float:
    started = time.perf_counter()
    call(rng)
    return 1000 * (time.perf_counter() - started)


def publish_alone(folder: Folder) -> None:
    """Publish and print the seconds and the largest resident memory of this process in MiB as JSON."""
    seconds = publish(folder, force=False).seconds
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps([seconds, int(peak.split()[1]) / 1024]))


# -----------------------------------------------------------------------------------------------------------------


def elsewhere(call: str, folder: Folder) -> Any:
    """Run a call of this module's in a process of its own; return what it prints."""
    code = f"from benchmarks.queries import *\nfolder = Folder({str(folder.root)!r})\n{call}"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(name: str, size: Size, folder: Folder, calls: int) -> list[str]:
    """Print everything about one size; return what takes too long."""
    started = time.perf_counter()
    write_facts(folder, size)
    for model in range(size.models):
        write_model(folder, size, model)
    print(f"\n{name}: {size.models} models x {CLASSES} classes x {size.images:,} images", end=" ")
    print(f"(drawn and written in {time.perf_counter() - started:.0f} s)", flush=True)

    seconds, peak = elsewhere("publish_alone(folder)", folder)
    number = folder.current_generation()
    assert number is not None
    file = folder.generation_file(number).stat().st_size / 2**20
    print(f"publish {seconds:.1f} s, {peak:,.0f} MiB resident at most, {file:,.0f} MiB a file", flush=True)
    too_slow = [f"{name}: publish"] if seconds > size.publish_s else []

    print(f"{'ms':40} {'cold':>8} {'median':>8} {'p95':>8} {'bar':>6}")
    for question, (aggregate, *times) in elsewhere(f"ask(folder, SIZES[{name!r}], {calls})", folder).items():
        bar = size.aggregate_ms if aggregate else size.query_ms
        print(f"{question:40} " + " ".join(f"{value:8.1f}" for value in times) + f" {bar:6.0f}", flush=True)
        if times[-1] > bar:
            too_slow.append(f"{name}: {question}")

    write_model(folder, size, size.models)
    seconds, peak = elsewhere("publish_alone(folder)", folder)
    print(f"publish one more model {seconds:.1f} s, {peak:,.0f} MiB resident at most", flush=True)
    return too_slow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", metavar="SIZE", help=f"some of {', '.join(SIZES)}; all by default")
    parser.add_argument("--calls", type=int, default=40, help="calls of every question after the first")
    options = parser.parse_args()
    if unknown := set(options.sizes) - set(SIZES):
        parser.error(f"There is no size {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}.")
    print(machine("duckdb", "pyarrow", "numpy"))
    too_slow = []
    for name in options.sizes or SIZES:
        with tempfile.TemporaryDirectory() as directory:
            too_slow += measure(name, SIZES[name], Folder(Path(directory) / "warehouse").create(), options.calls)
    if too_slow:
        sys.exit(f"Too slow: {', '.join(too_slow)}.")


if __name__ == "__main__":
    main()
