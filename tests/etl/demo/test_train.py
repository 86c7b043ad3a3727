from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from etl.demo import train as training
from etl.demo import zoo
from etl.demo.dataset import arrays

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Images = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.mark.usefixtures("test_images")
def test_the_command_trains_and_records_a_network(tmp_path: Path, image_cache: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"resnet18": {"epochs": 7}}))
    command = [sys.executable, "-m", "etl.demo.train", "--model", "squeezenet1_1", "--epochs", "1"]
    command += ["--images-per-class", "2", "--threads", "1", "--out", str(tmp_path), "--cache", str(image_cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert "squeezenet1_1: epoch 1 of 1, loss" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"squeezenet1_1.safetensors", "training.json"}
    record = zoo.recorded("squeezenet1_1", tmp_path)
    assert (record["epochs"], record["train_images"], record["seed"]) == (1, 128, 0)
    assert 0 <= record["test_top1"] <= record["test_top5"] <= 1
    assert zoo.recorded("resnet18", tmp_path) == {"epochs": 7}
    assert not zoo.load("squeezenet1_1", tmp_path).training


@pytest.mark.parametrize("option", [["--model", "resnet19"], ["--epochs", "0"], ["--images-per-class", "-1"]])
def test_bad_options_are_refused_in_one_sentence(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        training.main(option)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def few_images(image_cache: Path) -> Images:
    images, labels = arrays("train", 2, image_cache, workers=1)
    return images, labels


def test_training_is_seeded(few_images: Images) -> None:
    def state(seed: int) -> torch.Tensor:
        model, _ = training.train("squeezenet1_1", *few_images, epochs=1, seed=seed, precision="float32")
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    torch.testing.assert_close(state(3), state(3))
    assert not torch.allclose(state(3), state(4))


def test_training_learns_a_few_images_by_heart(few_images: Images) -> None:
    images, labels = few_images
    images, labels = np.repeat(images[:8], 16, axis=0), np.repeat(labels[:8], 16)
    model, loss = training.train("resnet18", images, labels, epochs=12, precision="float32")
    assert loss < 1.0
    assert training.evaluate(model, images, labels)[0] > 0.7


def test_evaluate_counts_first_and_first_five(few_images: Images) -> None:
    images, labels = few_images

    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = torch.nn.Parameter(torch.arange(64.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scores.expand(len(x), -1)

    assert training.evaluate(Constant(), images, labels) == (1 / 64, 5 / 64)


def test_too_few_images_for_a_batch_is_refused(few_images: Images) -> None:
    images, labels = few_images
    with pytest.raises(ValueError, match="at least 64"):
        training.train("squeezenet1_1", images[:10], labels[:10], epochs=1)
