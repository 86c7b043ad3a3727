"""Algorithm 2 on a hundred maps: ``python -m benchmarks.similarity``.

Maps of 224 x 224 as a Grad-CAM layer of 7 x 7 gives them, against the loop of the paper over all pairs with one NumPy
or scikit-image call a pair. The structural similarity is timed on the first ``--ssim`` maps, and scaled by pairs.
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from skimage.metrics import structural_similarity
from skimage.transform import resize

from etl.explain.similarity import MEASURES, perceptual_hash, similarity

if TYPE_CHECKING:
    from collections.abc import Callable

PAIRS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "l1": lambda a, b: float(np.abs(a - b).mean()),
    "mse": lambda a, b: float(np.square(a - b).mean()),
    "ssim": lambda a, b: structural_similarity(a, b, data_range=1.0),
    "hash": lambda a, b: float((perceptual_hash(a) != perceptual_hash(b)).mean()),
}


def algorithm_2(maps: np.ndarray, measure: str) -> np.ndarray:
    """Compare every map with every other, as printed."""
    return np.array([[PAIRS[measure](one, other) for other in maps] for one in maps])


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=100)
    parser.add_argument("--ssim", type=int, default=10, help="maps given to the structural similarity")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    maps = np.stack([resize(rng.random((7, 7)), (224, 224), order=1) for _ in range(options.maps)])
    print(f"{platform.machine()}, numpy {version('numpy')}, scipy {version('scipy')}")
    print(f"{options.maps} maps of 224 x 224, median of {options.rounds} rounds")
    print(f"{'measure':8} {'ours':>9} {'double loop':>12} {'ratio':>6} {'largest difference':>19}")
    for measure in MEASURES:
        count = options.ssim if measure == "ssim" else options.maps
        scale = (options.maps / count) ** 2
        some = maps[:count]
        difference = np.abs(similarity(some, measure) - algorithm_2(some, measure)).max()
        ours, loop = np.array(
            [
                (seconds(lambda: similarity(some, measure)), seconds(lambda: algorithm_2(some, measure)))  # noqa: B023
                for _ in range(options.rounds)
            ]
        ).T
        print(
            f"{measure:8} {np.median(ours) * scale:7.3f} s {np.median(loop) * scale:10.2f} s"
            f" {np.median(loop / ours):6.1f} {difference:19.1e}"
        )


if __name__ == "__main__":
    main()
