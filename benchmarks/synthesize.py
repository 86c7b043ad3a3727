"""Warehouses of any size, statistically plausible: ``python -m benchmarks.synthesize DIR``.

    python -m benchmarks.synthesize DIR --models 13 --classes 1000 --images 50000 --seed 0

Classes, images and models are drawn (`benchmarks.synthetic`): models know more the larger they are, by family; classes
and images differ in how hard they are, for all models alike; what a class is taken for are mostly its relatives, the
same for all models up to some noise; confidences tell how often a model is right. All of it is written as the parts
that an ETL writes, apart from features, then published. Without DIR a warehouse is made in a temporary folder, to see
how long that takes.

Images have no files unless `--pictures` says so, and maps can be computed for no model but the first `--explainable`
ones. These have real networks of random weights, as checkpoints in the warehouse's folder. What the warehouse says of
them is drawn as for all models: answers, accuracies, layouts and costs are not those of the networks.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks.synthetic.answers import Answers, answer
from benchmarks.synthetic.model import SyntheticModel
from benchmarks.synthetic.pictures import Picture, draw
from benchmarks.synthetic.world import World
from benchmarks.timing import machine
from warehouse.folder import Folder
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish
from warehouse.schema import DERIVED_SCHEMAS, PART_SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PICTURES = "pictures"
"""The image folder, in the warehouse's."""

NETWORKS = "networks"
"""The folder of checkpoints, in the warehouse's."""

_WRITERS = 2  # threads: the disk is waited for most of the time


def synthesize(
    path: str | Path,
    models: int = 13,
    classes: int = 1000,
    images: int = 50_000,
    seed: int = 0,
    *,
    pictures: int = 0,
    explainable: int = 0,
    image_layouts: bool = True,
    progress: Callable[[str], object] = str,
) -> Folder:
    """Make a warehouse and publish it.

    Parameters
    ----------
    path
        A folder that holds no warehouse yet.
    models, classes, images
        How many there are to be.
    seed
        Same seed and sizes, same bytes of the parts, but for the folder that they name.
    pictures
        How many image files to draw; the other images are links to these. Without, no image has a file.
    explainable
        How many models, the first ones, have a network that can be explained. All else about them stays drawn. Needs
        pictures, and torch.
    image_layouts
        Whether models have image layouts; most of a large warehouse is these.
    progress
        Called with a line now and then.
    """
    if not 0 <= explainable <= models:
        raise ValueError(f"Of {models} models {explainable} cannot be explainable.")
    if explainable and not pictures:
        raise ValueError("Only images that have files can be explained; draw some pictures, too.")
    folder = Folder(path).create()
    if any(folder.parts.iterdir()):
        raise FileExistsError(f"{folder.root} holds a warehouse already.")
    world = World.of(classes, images, seed)
    write_facts(folder, world, pictures)
    for number in range(models):
        model = SyntheticModel.of(world, number)
        if number < explainable:
            from benchmarks.synthetic.network import with_network  # brings torch along

            model = with_network(model, world, folder.root / NETWORKS)
        write_model(folder, world, model, image_layout=image_layouts)
        progress(f"{model.card['label']}, {number + 1} of {models}")
    publish(folder)
    return folder


def write_facts(folder: Folder, world: World, pictures: int = 0) -> None:
    """Write the class table and the register of images, and some pictures if asked."""
    parts = PartStore(folder)
    parts.write("classes", "_", "table", world.table.to_arrow().cast(PART_SCHEMAS["classes"]))
    root = folder.root / PICTURES
    drawn = draw(root, [_path(world, i) for i in range(len(world.labels))], pictures, world.seed) if pictures else None
    for number, rows in enumerate(shards(world)):
        ids = np.arange(rows.start, rows.stop, dtype=np.int32)
        facts = _invented(world, number, len(ids)) if drawn is None else drawn[rows]
        sizes, widths, heights, digests = zip(*facts, strict=True)
        register = {
            "image_id": ids,
            "root": [str(root)] * len(ids),
            "path": [_path(world, i) for i in ids.tolist()],
            "class_id": world.labels[rows],
            "bytes": sizes,
            "modified_ns": np.full(len(ids), 10**18),
        }
        decoded = {
            "image_id": ids,
            "width": widths,
            "height": heights,
            "sha256": digests,
            "reason": pa.nulls(len(ids), pa.string()),
        }
        parts.write("images", "_", _name(number), pa.table(register, schema=PART_SCHEMAS["images"]))
        parts.write("decoded", "_", _name(number), pa.table(decoded, schema=PART_SCHEMAS["decoded"]))


def write_model(folder: Folder, world: World, model: SyntheticModel, *, image_layout: bool = True) -> None:
    """Write everything that belongs to one model."""
    parts, derived = PartStore(folder), DerivedStore(folder)

    def write(number: int, rows: slice) -> Answers:
        answers = answer(world, model, number, rows)
        parts.write("confidences", model.key, _name(number), answers.confidences)
        parts.write("predictions", model.key, _name(number), answers.predictions)
        return answers

    with ThreadPoolExecutor(_WRITERS) as pool:
        given = pool.map(write, itertools.count(), shards(world))
        places = [(answers.x, answers.y) for answers in given]
    x, y = model.place.astype(np.float32).T
    layouts = {"class_layouts": {"class_id": np.arange(len(x), dtype=np.int32), "x": x.copy(), "y": y.copy()}}
    if image_layout:
        x, y = (np.concatenate(column) for column in zip(*places, strict=True))
        layouts["image_layouts"] = {"image_id": np.arange(len(x), dtype=np.int32), "x": x, "y": y}
    for kind, columns in layouts.items():
        derived.write(kind, model.key, pa.table(columns).cast(DERIVED_SCHEMAS[kind]), SyntheticModel.__name__)
    card = {name: [value] for name, value in model.card.items()}
    parts.write("models", "_", model.key, pa.table(card, schema=PART_SCHEMAS["models"]))


def shards(world: World) -> Iterator[slice]:
    """Yield the rows of each shard, of the size that an ETL makes them."""
    images = len(world.labels)
    size = min(max(images // 400, 512), 2048)
    for start in range(0, images, size):
        yield slice(start, min(start + size, images))


def _name(shard: int) -> str:
    return f"shard-{shard:05d}"


def _path(world: World, image: int) -> str:
    return f"{world.table.wnids[world.labels[image]]}/synthetic_{image:08d}.JPEG"


def _invented(world: World, shard: int, count: int) -> list[Picture]:
    """Return what files might have told if there were any."""
    rng = np.random.default_rng([world.seed, 5, shard])
    sizes, sides = rng.integers(20_000, 200_000, count).tolist(), rng.integers(200, 600, (count, 2)).tolist()
    digests = (rng.bytes(32).hex() for _ in range(count))
    return [Picture(size, side[0], side[1], sha) for size, side, sha in zip(sizes, sides, digests, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", metavar="DIR", help="where to; a temporary folder by default")
    parser.add_argument("--models", type=int, default=13)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=0, metavar="N", help="draw N image files; the others are links")
    parser.add_argument(
        "--explainable", type=int, default=0, metavar="N", help="give the first N models networks; needs --pictures"
    )
    parser.add_argument("--no-image-layouts", action="store_true", help="leave the layouts of images out")
    options = parser.parse_args()
    print(machine("numpy", "pyarrow", "duckdb"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = synthesize(
                options.folder or Path(temporary) / "warehouse",
                options.models,
                options.classes,
                options.images,
                options.seed,
                pictures=options.pictures,
                explainable=options.explainable,
                image_layouts=not options.no_image_layouts,
                progress=lambda line: print(f"{time.perf_counter() - started:7.1f} s  {line}", flush=True),
            )
        except (FileExistsError, ValueError) as error:
            sys.exit(str(error))
        print(f"{time.perf_counter() - started:7.1f} s  published {folder.published}")


if __name__ == "__main__":
    main()
