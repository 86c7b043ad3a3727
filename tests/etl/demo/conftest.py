from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from etl.demo.dataset import arrays

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictograms")


@pytest.fixture(scope="session")
def test_images(image_cache: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 1600 test images on which the recorded accuracies were measured."""
    return arrays("test", 25, image_cache, workers=1)
