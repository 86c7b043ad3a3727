"""Resident memory of the ETL over many images: ``python -m benchmarks.memory``.

Draws JPEG files and runs 13 light models over them with ``etl.run`` in a process of its own, whose resident memory is
read every second: twelve small networks, and torchvision's ShuffleNet V2 x0.5 with random weights. All see 224 pixels,
so that the pixels of all images do not fit into memory. "Flat" compares the most memory until a thousand images were
predicted by every model with the most from there until all are. Ends with status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms

import etl
from benchmarks.timing import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from warehouse.progress import Progress

CLASSES = 100
MODELS = 13
PEAK_GIB, GROWTH = 4.0, 0.05
FIRST_IMAGES = 1000
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# Light models, for the provider `python:` ------------------------------------------------------------------------


def light_model(seed: int) -> tuple[nn.Module, transforms.Compose, None]:
    """Make a network of three convolutions with random weights, a different one for each seed."""
    torch.manual_seed(seed)
    width = 8 + 2 * seed
    module = nn.Sequential(
        nn.Conv2d(3, width, 8, stride=8),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, CLASSES),
    )
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    return module, transform, None


def __getattr__(name: str) -> Callable[[], Any]:
    """Give a factory for every name such as `light3`."""
    number = name.removeprefix("light")
    if number == name or not number.isdigit():
        raise AttributeError(name)
    return partial(light_model, int(number))


# -----------------------------------------------------------------------------------------------------------------


def draw_images(root: Path, count: int) -> None:
    """Write an image folder of 64-pixel JPEGs, a grid of random colours each."""
    rng = np.random.default_rng(0)
    for class_id in range(CLASSES):
        (root / f"class{class_id:03d}").mkdir(parents=True)
    for i in range(count):
        grid = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        grid.resize((64, 64), Image.Resampling.BILINEAR).save(root / f"class{i % CLASSES:03d}" / f"{i:06d}.jpg")


def checkpoint(root: Path) -> str:
    """Write torchvision's lightest model with random weights; return its name."""
    torch.manual_seed(0)
    path = root / "shufflenet.pth"
    model = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=CLASSES)
    torch.save(model.state_dict(), path)
    return f"torchvision:shufflenet_v2_x0_5@{path}"


def child(images: str, models: list[str], folder: str, image_layout: bool) -> None:
    """Run the ETL and print how far it is, a line a step."""

    def tell(progress: Progress) -> None:
        print(json.dumps([progress.images_done, progress.message]), flush=True)

    etl.run(images, models, folder, image_layout=image_layout, progress=tell)


def resident(pid: int, what: str = "VmRSS") -> float:
    """Return the resident memory of a process in MiB; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{what}:")), 0.0)


def watch(process: subprocess.Popen[str]) -> list[tuple[float, int, str, float]]:
    """Return second, predictions so far, what is being done, and resident MiB, once a second until the process ends."""
    state: list[Any] = [0, ""]

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            state[:] = json.loads(line)

    listener = threading.Thread(target=listen)
    listener.start()
    started, samples = time.monotonic(), []
    while process.poll() is None:
        samples.append((time.monotonic() - started, state[0], state[1], resident(process.pid)))
        time.sleep(1)
    listener.join()
    if process.returncode:
        sys.exit("The ETL failed.")
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--image-layout", action="store_true", help="lay out the images of each model too")
    options = parser.parse_args()
    print(machine("torch", "pyarrow", "duckdb"))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        draw_images(root / "images", options.images)
        names = [f"python:benchmarks.memory:light{i}" for i in range(MODELS - 1)] + [checkpoint(root)]
        arguments = str(root / "images"), names, str(root / "warehouse"), options.image_layout
        code = f"from benchmarks.memory import child; child(*{arguments!r})"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        samples = watch(process)
    total = options.images * MODELS
    early = [mib for _, done, _, mib in samples if done <= FIRST_IMAGES * MODELS]
    late = [mib for _, done, _, mib in samples if FIRST_IMAGES * MODELS < done < total]
    after = [mib for _, done, _, mib in samples if done >= total]
    peak = max(mib for *_, mib in samples)
    print(f"{options.images:,} images x {MODELS} models in {samples[-1][0]:.0f} s")
    for share in np.linspace(0, 1, 11):
        second, done, _, mib = samples[round(share * (len(samples) - 1))]
        print(f"  {second:6.0f} s  {done / MODELS:9,.0f} images  {mib:7,.0f} MiB")
    if not late:
        sys.exit("Too few images to tell whether memory is flat.")
    growth = max(late) / max(early) - 1
    print(
        f"most until {FIRST_IMAGES} images {max(early):,.0f} MiB, until all {max(late):,.0f} MiB: {growth:+.1%}", end=""
    )
    print(f" (bar {GROWTH:+.0%}); while layouts and tables are made {max(after, default=0):,.0f} MiB")
    print(f"peak {peak / 1024:.2f} GiB (bar {PEAK_GIB:.0f} GiB)")
    if peak > PEAK_GIB * 1024 or growth > GROWTH:
        sys.exit("Too much memory.")


if __name__ == "__main__":
    main()
