"""The ETL against the sum of its forward passes, and against the usual loop: ``python -m benchmarks.etl``.

*Floor*: bare forward passes of the same models over the same number of images, in the ETL's batches, number type and
memory format, pixels at hand. *ETL*: ``etl.run`` from JPEG files to the published warehouse. *Loop*: what one would
write with torchvision: for each model a ``DataLoader`` over an ``ImageFolder`` with the model's transform, softmax, top
5, a pandas frame to Parquet. All three alternate within each round; floor and loop run in a process of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from PIL import Image
from skimage import data

import etl
from benchmarks.timing import machine, ratio
from etl.models import resolve
from etl.predict import PRECISIONS, default_batch_size

if TYPE_CHECKING:
    from etl.models import LoadedModel
    from etl.report import RunReport

MODELS = ("shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v2", "efficientnet-lite:lite0")
COMPARED = ("float32", "bfloat16")
WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041", "n01514668")
"""ImageNet's first classes: folders of such names get the class table of ImageNet, which all the models know."""


def image_folder(root: Path, count: int, photos: Path | None) -> Path:
    """Write an ImageFolder of JPEGs: the photos given, or crops of those that come with scikit-image."""
    rng = np.random.default_rng(0)
    files = sorted(path for path in (photos or root).rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    scenes = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    for i in range(count):
        folder = root / "images" / WNIDS[i % len(WNIDS)]
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{i:05d}.jpg"
        if photos is not None:
            shutil.copyfile(files[i % len(files)], target)
            continue
        scene = scenes[i % len(scenes)]
        left, top = rng.integers(0, scene.width // 4), rng.integers(0, scene.height // 4)
        crop = scene.crop((left, top, left + scene.width * 3 // 4, top + scene.height * 3 // 4))
        crop.resize((500, 375)).save(target, quality=90)
    return root / "images"


def checkpoints(root: Path) -> list[str]:
    """Names of the models; torchvision's with random weights, kept in files."""
    names = []
    for name in MODELS:
        if ":" in name:
            names.append(name)
            continue
        torch.manual_seed(0)
        path = root / f"{name}.pth"
        torch.save(torchvision.models.get_model(name, weights=None).state_dict(), path)
        names.append(f"torchvision:{name}@{path}")
    return names


def run(images: Path, names: list[str], out: Path, precision: str) -> RunReport:
    """Run the ETL; a model that fails would be fast."""
    report = etl.run(images, names, out, precision=precision, device="cpu", image_layout=False, progress=False)
    if report.failed:
        raise RuntimeError(str(report.failed))
    return report


def floor(names: list[str], count: int, precision: str, threads: int) -> float:
    """Return the seconds of forward passes and nothing else."""
    torch.set_num_threads(threads)
    dtype = PRECISIONS[precision]
    models = [resolve(name).load() for name in names]
    started = time.perf_counter()
    for loaded in models:
        module = loaded.module.to(dtype=dtype, memory_format=torch.channels_last)
        size = loaded.preprocess.input_size or 224
        batch = min(count, default_batch_size(torch.device("cpu"), size * size))
        x = torch.rand(batch, 3, size, size).to(dtype=dtype, memory_format=torch.channels_last)
        with torch.inference_mode():
            for start in range(0, count, batch):
                module(x[: min(batch, count - start)])
    return time.perf_counter() - started


def loop(names: list[str], images: Path, out: Path, threads: int) -> float:
    """Classify as torchvision's reference scripts do, one model after the other, and write a frame; return seconds."""
    import pandas as pd

    torch.set_num_threads(threads)
    started = time.perf_counter()
    for name in names:
        loaded = resolve(name).load()
        module = loaded.module

        def transform(image: Image.Image, loaded: LoadedModel = loaded) -> torch.Tensor:
            return loaded.preprocess.batch(loaded.preprocess.pixels(image.convert("RGB"))[None])[0].contiguous()

        dataset = torchvision.datasets.ImageFolder(str(images), transform)
        rows = []
        with torch.inference_mode():
            for x, y in torch.utils.data.DataLoader(dataset, batch_size=32):
                top = module(x).softmax(1).topk(5, dim=1)
                for label, values, indices in zip(y.tolist(), top.values.tolist(), top.indices.tolist(), strict=True):
                    rows.append(
                        {"label": label, **{f"c{i}": v for i, v in enumerate(values)}}
                        | {f"k{i}": k for i, k in enumerate(indices)}
                    )
        pd.DataFrame(rows).to_parquet(out / f"{abs(hash(name))}.parquet")
    return time.perf_counter() - started


def _plain_process() -> ProcessPoolExecutor:
    """Return a process that the ETL never runs in: it changes how memory is allocated in its own."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs to copy; crops of scikit-image's by default")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    print(f"{machine('torch', 'torchvision')}, {options.threads} threads")
    with tempfile.TemporaryDirectory() as folder, _plain_process() as plain:
        root = Path(folder)
        images = image_folder(root, options.images, options.photos)
        names = checkpoints(root)
        times: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            for precision in COMPARED:
                bare = plain.submit(floor, names, options.images, precision, options.threads).result()
                times[f"floor {precision}"].append(bare)
                out = root / f"{precision}-{number}"
                started = time.perf_counter()
                run(images, names, out, precision)
                times[f"etl {precision}"].append(time.perf_counter() - started)
            times["loop"].append(plain.submit(loop, names, images, root, options.threads).result())
        changed = run(images, names, root / "float32-0", "bfloat16").changed
    t = {key: np.array(values) for key, values in times.items()}
    print(f"{len(names)} models x {options.images} JPEGs, medians of {options.rounds} rounds")
    for key, values in t.items():
        print(f"{key:16} {np.median(values):7.1f} s")
    for name, share in changed.items():
        print(f"{name.rpartition('/')[2]:24} bfloat16 changes {share:.2%} of its top-1 predictions")
    for precision in COMPARED:
        print(
            f"{precision:9} floor / ETL {ratio(t, f'floor {precision}', f'etl {precision}'):5.2f}   "
            f"loop / ETL {ratio(t, 'loop', f'etl {precision}'):5.2f}"
        )


if __name__ == "__main__":
    main()
