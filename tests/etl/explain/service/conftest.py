"""A small real warehouse: six images, three classes, two small networks with random weights."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import etl
from etl.explain.grad_cam import GradCAM
from etl.explain.protocol import NoParameters

WAIT = 60.0
CLASSES = ("cat", "dog", "owl")
NETWORKS = ("squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5")


@pytest.fixture(autouse=True, scope="package")
def _one_thread_each():
    """Tiny networks in several processes: threads that wait for each other's processor only cost time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="package")
def built(tmp_path_factory):
    """Folder of the warehouse, and the names of its models."""
    root = tmp_path_factory.mktemp("service")
    random = np.random.default_rng(0)
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True)
        for i in range(2):
            pixels = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{i}.png")
    models = []
    for name in NETWORKS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            network = torchvision.models.get_model(name, num_classes=len(CLASSES))
        torch.save(network.state_dict(), root / f"{name}.pth")
        models.append(f"torchvision:{name}@{root / name}.pth")
    report = etl.run(root / "images", models=models, warehouse=root / "w", device="cpu", image_layout=False)
    assert not report.failed
    return root / "w", models


@pytest.fixture
def folder(built):
    """The warehouse without any explanation."""
    for file in built[0].glob("explanations.sqlite*"):
        file.unlink()
    return built[0]


@pytest.fixture
def models(built):
    return built[1][:2]


class Gated(GradCAM):
    """Grad-CAM that makes many forward passes first, as many as it is given leave for."""

    name = "gated"
    Parameters = NoParameters

    def __init__(self):
        self.networks = []
        self.endless = False
        self._inside = threading.Event()
        self._leave = threading.Semaphore(0)

    def attribute(self, model, images, targets, parameters, context):
        while True:
            context.step(0.5, torch.eye(4).expand(len(images), 4, 4))
            self._inside.set()
            assert self._leave.acquire(timeout=WAIT)
            self._inside.clear()
            model.scores(images)
            self.networks.append(type(model.module).__name__)
            if not self.endless:
                return super().attribute(model, images, targets, parameters, context)

    @property
    def passes(self):
        return len(self.networks)

    def reached(self):
        """Wait until it is in a pass."""
        assert self._inside.wait(WAIT)

    def release(self, passes=1):
        for _ in range(passes):
            self._leave.release()


@pytest.fixture
def gated(monkeypatch):
    """The method ``"gated"``; what is asked meanwhile builds up behind it."""
    from etl.explain import load_method

    method = Gated()
    monkeypatch.setattr("etl.explain.task.load_method", lambda name: method if name == "gated" else load_method(name))
    yield method
    method.endless = False
    method.release(1000)


@pytest.fixture
def until():
    """Wait for a condition, but not for ever."""

    def wait(condition):
        deadline = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait


@pytest.fixture
def checkpoint(built):
    """The last model, which only those tests load that spoil the file of its weights; what they do to it is undone."""
    file = built[0].parent / f"{NETWORKS[-1]}.pth"
    content = file.read_bytes()
    yield SimpleNamespace(file=file, model=built[1][-1])
    file.write_bytes(content)
