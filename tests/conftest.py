"""What all tests share: a real demo warehouse, built once by the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: the threads of a forward pass would only wait for those of another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared"
IMAGES_PER_CLASS = 4


@pytest.fixture(scope="session")
def photos() -> Path:
    """The ImageNet photos that are not part of the repository."""
    folder = SHARED / "imagenet" / "photos"
    if not folder.is_dir():
        pytest.skip("the ImageNet photos (../shared/imagenet/photos) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def demo_warehouse(tmp_path_factory) -> Path:
    """The embedded demo with all thirteen models and few images, as ``vacpanel demo --no-serve`` builds it."""
    folder = tmp_path_factory.mktemp("demo") / "warehouse"
    command = [sys.executable, "-m", "vacpanel", "demo", "--no-serve", "--warehouse", str(folder)]
    command += ["--images-per-class", str(IMAGES_PER_CLASS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def empty_warehouse(tmp_path) -> Path:
    """A warehouse in which nothing has been run."""
    from vacpanel.demo import prepare

    prepare(tmp_path / "empty")
    return tmp_path / "empty"


@pytest.fixture(autouse=True)
def _no_leftovers():
    """Close what a test opened in this process, so that no state leaks into the next one."""
    yield
    if "vacpanel.serving" in sys.modules:
        sys.modules["vacpanel.serving"].close_all()
