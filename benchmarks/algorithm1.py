"""Algorithm 1, streamed, against the loops as the paper prints them: ``python -m benchmarks.algorithm1``.

The printed loops take half a minute and more at the size of ImageNet's validation set, so they are timed on
``--printed`` images and scaled by M; the streamed form is timed on all M, batch by batch, as the ETL feeds it.
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version

import numpy as np
import torch

from etl.distances import ConfidenceSums


def printed_loops(labels: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """Algorithm 1 line by line."""
    n = confidences.shape[1]
    distance, count = np.zeros((n, n)), np.zeros((n, n))
    for image in range(len(labels)):
        current = labels[image]
        p = confidences[image, :]
        for other in range(n):
            confidence = p[other]
            count[current, other] += 1
            if other != current:
                distance[current, other] += 1 - confidence
    with np.errstate(invalid="ignore"):
        distance = np.divide(distance, count)
    return (distance + distance.T) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--printed", type=int, default=300, help="images given to the printed loops")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, options.classes, options.images)
    batch = torch.softmax(torch.from_numpy(rng.normal(0, 3, (256, options.classes))), 1).float()

    ours, theirs = [], []
    for _ in range(options.rounds):
        sums = ConfidenceSums(options.classes)
        started = time.perf_counter()
        for start in range(0, options.images, 256):
            part = torch.from_numpy(labels[start : start + 256])
            sums.add(part, batch[: len(part)])
        sums.distances()
        ours.append(time.perf_counter() - started)
        sample = batch.double().numpy()[np.arange(options.printed) % 256]
        started = time.perf_counter()
        printed_loops(labels[: options.printed], sample)
        theirs.append((time.perf_counter() - started) * options.images / options.printed)
    ratio = np.median(np.array(theirs) / np.array(ours))
    print(f"{platform.machine()}, torch {version('torch')}, numpy {version('numpy')}, 1 thread")
    print(f"M = {options.images}, N = {options.classes}, median of {options.rounds} rounds")
    print(f"printed loops (scaled from {options.printed} images)  {np.median(theirs):8.2f} s")
    print(f"streamed                                 {np.median(ours):8.3f} s")
    print(f"ratio                                    {ratio:8.0f}")
    print(f"memory of the sums                       {sums.to_arrow().nbytes / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
