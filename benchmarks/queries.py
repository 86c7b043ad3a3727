"""Publishing and querying at scale: ``python -m benchmarks.queries``.

Warehouses of 13 models and 50,000 images, and of 50 models and a million, both of 1000 classes, are drawn and written
as the parts that an ETL writes (`benchmarks.synthesize`). The real ``publish`` runs in a process of its own, and every
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import warehouse
from benchmarks.maps import forget
from benchmarks.synthesize import write_facts, write_model
from benchmarks.synthetic.model import SyntheticModel
from benchmarks.synthetic.world import World
from benchmarks.timing import machine
from warehouse.folder import Folder
from warehouse.predicate import EVERYTHING, Predicate
from warehouse.publish import publish

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Size:
    """How much there is, and what it may cost at most."""

    models: int
    images: int
    image_layouts: bool  # nobody lays out a million images
    publish_s: float
    aggregate_ms: float
    query_ms: float


SIZES = {
    "imagenet": Size(13, 50_000, True, publish_s=60, aggregate_ms=20, query_ms=20),
    "million": Size(50, 1_000_000, False, publish_s=60, aggregate_ms=10, query_ms=150),
}


# What dashboards ask ---------------------------------------------------------------------------------------------


def questions(w: warehouse.Warehouse, size: Size) -> dict[str, tuple[bool, Callable[[np.random.Generator], object]]]:
    """Return by name: whether it is an aggregate, and the call with arguments drawn anew."""
    models, roots = w.models()["model"].tolist(), w.roots()

    def model(rng: np.random.Generator) -> str:
        return str(rng.choice(models))

    def some_models(rng: np.random.Generator, count: int) -> list[str]:
        return sorted(rng.choice(models, count, replace=False).tolist())

    def some_images(rng: np.random.Generator, count: int) -> list[int]:
        return rng.integers(0, size.images, count).tolist()

    def of_a_class(rng: np.random.Generator) -> list[int]:
        return w.images_of(int(rng.integers(CLASSES)), limit=20)["image_id"].tolist()

    asked: dict[str, tuple[bool, Callable[[np.random.Generator], object]]] = {
        "summary()": (True, lambda _: w.summary()),
        "models()": (True, lambda _: w.models()),
        "model_row(model)": (True, lambda rng: w.model_row(model(rng))),
        "classes()": (True, lambda _: w.classes()),
        "roots()": (True, lambda _: w.roots()),
        "tally() of a new process": (True, lambda _: w._count(w.generation, EVERYTHING)),
        "tally(root)": (True, lambda rng: w.tally(Predicate(roots=(str(rng.choice(roots)),))).root_accuracy()),
        "tally(models).class_accuracy(model)": (
            True,
            lambda rng: w.tally(Predicate(models=tuple(some_models(rng, 5)))).class_accuracy(model(rng)),
        ),
        "tally(wrong).class_spread()": (True, lambda _: w.tally(Predicate(correct=False)).class_spread()),
        "tally(confidence)": (False, lambda rng: w.tally(Predicate(min_confidence=int(rng.integers(101)) / 100))),
        "tally(50 images)": (False, lambda rng: w.tally(Predicate(images=tuple(some_images(rng, 50))))),
        "class_layout(model)": (True, lambda rng: w.class_layout(model(rng))),
        "nearest_classes(model, class, 10)": (
            False,
            lambda rng: w.nearest_classes(model(rng), int(rng.integers(CLASSES)), 10),
        ),
        "images_of(class)": (False, lambda rng: w.images_of(int(rng.integers(CLASSES)))),
        "images_of(class, limit=40)": (False, lambda rng: w.images_of(int(rng.integers(CLASSES)), limit=40)),
        "images_of(class, limit=40, wrong)": (
            False,
            lambda rng: w.images_of(int(rng.integers(CLASSES)), limit=40, where=Predicate(correct=False)),
        ),
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
    if size.image_layouts:
        asked["image_points(model)"] = (False, lambda rng: w.image_points(model(rng)))
    return asked


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
    world = World.of(CLASSES, size.images)
    write_facts(folder, world)
    for number in range(size.models):
        write_model(folder, world, SyntheticModel.of(world, number), image_layout=size.image_layouts)
    print(f"\n{name}: {size.models} models x {CLASSES} classes x {size.images:,} images", end=" ")
    print(f"(drawn and written in {time.perf_counter() - started:.0f} s)", flush=True)

    seconds, peak = elsewhere("publish_alone(folder)", folder)
    generation = folder.current_generation()
    assert generation is not None
    file = folder.generation_file(generation).stat().st_size / 2**20
    print(f"publish {seconds:.1f} s, {peak:,.0f} MiB resident at most, {file:,.0f} MiB a file", flush=True)
    too_slow = [f"{name}: publish"] if seconds > size.publish_s else []

    print(f"{'ms':40} {'cold':>8} {'median':>8} {'p95':>8} {'bar':>6}")
    for question, (aggregate, *times) in elsewhere(f"ask(folder, SIZES[{name!r}], {calls})", folder).items():
        bar = size.aggregate_ms if aggregate else size.query_ms
        print(f"{question:40} " + " ".join(f"{value:8.1f}" for value in times) + f" {bar:6.0f}", flush=True)
        if times[-1] > bar:
            too_slow.append(f"{name}: {question}")

    write_model(folder, world, SyntheticModel.of(world, size.models), image_layout=size.image_layouts)
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
