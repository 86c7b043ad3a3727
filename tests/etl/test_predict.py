"""Running one classifier: too little memory, and how float32 is multiplied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from etl.explain import merging
from etl.models import LoadedModel, ModelError
from etl.predict import Aborted, Runner, float32_math
from etl.preprocess import Preprocess

CPU = torch.device("cpu")


class Hungry(nn.Module):
    """Has memory for so many images at a time."""

    def __init__(self, room):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 4)
        self.room = room
        self.batches = []

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError
        self.batches.append(len(x))
        return self.linear(x.mean((2, 3)))


def predict(module, pixels, batch_size):
    loaded = LoadedModel(module.eval(), Preprocess(None, 8), 4, "Net")
    with Runner(loaded, None, "linear", CPU, "float32", batch_size) as runner:
        return runner.predict(pixels), runner.batch_size


def test_too_little_memory_halves_the_batch_and_nothing_is_lost():
    pixels = torch.randint(0, 256, (21, 3, 8, 8), dtype=torch.uint8)
    (logits, features), _ = predict(Hungry(1000), pixels, 32)
    hungry = Hungry(5)
    (found, found_features), size = predict(hungry, pixels, 32)
    assert size == 4
    assert hungry.batches == [1, 1, 4, 4, 4, 4, 4, 1]  # the first two to prepare
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(logits))
    torch.testing.assert_close(torch.from_numpy(found_features), torch.from_numpy(features))


def test_who_does_not_want_to_wait_for_the_end_need_not():
    hungry = Hungry(1000)
    loaded = LoadedModel(hungry.eval(), Preprocess(None, 8), 4, "Net")
    enough = lambda: len(hungry.batches) >= 5  # noqa: E731
    with Runner(loaded, None, "linear", CPU, "float32", 2, enough) as runner, pytest.raises(Aborted):
        runner.predict(torch.zeros(100, 3, 8, 8, dtype=torch.uint8))
    assert hungry.batches == [1, 1, 2, 2, 2]


def test_no_room_for_one_image_is_said():
    with pytest.raises(ModelError, match="not enough memory for a single image"):
        predict(Hungry(0), torch.zeros(3, 3, 8, 8, dtype=torch.uint8), 8)


def test_no_images_give_no_rows():
    (logits, features), _ = predict(Hungry(1), torch.zeros(0, 3, 8, 8, dtype=torch.uint8), 8)
    assert logits.shape == (0, 4)
    assert len(features) == 0


class Residual(nn.Module):
    """Convolutions with all that can be merged and overwritten; like some models it evens out contrast itself."""

    def __init__(self, hooked=False):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.body = nn.Conv2d(64, 64, 3, padding=1)
        self.norm = nn.BatchNorm2d(64)
        self.active = nn.ReLU()
        self.linear = nn.Conv2d(64, 4, 1)
        self.seen = []
        if hooked:
            self.body.register_forward_hook(lambda _module, _args, output: self.seen.append(output))

    def forward(self, x):
        low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = (x - low) / (high - low)
        x = self.active(self.stem(x))
        x = self.active(x + self.norm(self.body(x)))
        return self.linear(x).flatten(2).mean(2)


@pytest.fixture
def _merged(monkeypatch):
    """Merge convolutions of the smallest networks, too."""
    monkeypatch.setattr(merging, "_LEAST", 0)


@pytest.mark.usefixtures("_merged")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("hooked", [False, True])
def test_predictions_are_those_of_the_module_as_it_comes(precision, hooked):
    pixels = torch.randint(0, 256, (11, 3, 32, 32), dtype=torch.uint8)
    plain, preprocess = Residual().eval(), Preprocess(None, 32)
    maps = []
    plain.linear.register_forward_pre_hook(lambda _module, args: maps.append(args[0]))
    with torch.no_grad():
        expected = plain(preprocess.batch(pixels))
    loaded = LoadedModel(Residual(hooked).eval(), preprocess, 4, "Net")
    with Runner(loaded, None, "linear", CPU, precision, 4) as runner:
        logits, features = runner.predict(pixels)
        again, _ = runner.predict(pixels)
        assert (runner._merging is None) == hooked
        assert runner.latency_ms(pixels) > 0
    # The seventh significant digit, or in bfloat16 the third.
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if precision == "float32" else {"rtol": 0.05, "atol": 0.02}
    torch.testing.assert_close(torch.from_numpy(logits), expected, **tolerance)
    torch.testing.assert_close(torch.from_numpy(features), maps[0].mean((2, 3)), **tolerance)
    assert (again == logits).all()
    assert not loaded.module.active.inplace


@pytest.mark.usefixtures("_merged")
def test_what_a_model_makes_of_an_image_without_contrast_is_not_hidden():
    """A ReLU that is merged makes zero of NaN."""
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    loaded = LoadedModel(Residual().eval(), Preprocess(None, 32), 4, "Net")
    with Runner(loaded, None, "linear", CPU, "float32", 8) as runner:
        runner.predict(pixels)
        assert runner._merging is not None
        pixels[3] = 7
        with pytest.raises(ModelError, match="not finite"):
            runner.predict(pixels)


@pytest.mark.parametrize(("tf32", "expected"), [(True, "tf32"), (False, "ieee")])
def test_how_a_gpu_multiplies_is_set_and_restored(tf32, expected):
    """The settings exist without a GPU, too."""
    settings = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [setting.fp32_precision for setting in settings]
    with float32_math(torch.device("cuda"), tf32=tf32):
        assert [setting.fp32_precision for setting in settings] == [expected] * 2
    assert [setting.fp32_precision for setting in settings] == before
    with float32_math(CPU, tf32=tf32):
        assert [setting.fp32_precision for setting in settings] == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_computes_the_same():
    pixels = torch.randint(0, 256, (21, 3, 8, 8), dtype=torch.uint8)
    module = Hungry(1000)
    (expected, _), _ = predict(module, pixels, 8)
    loaded = LoadedModel(module, Preprocess(None, 8), 4, "Net")
    with Runner(loaded, None, "linear", torch.device("cuda"), "float32", 8) as runner:
        logits, _ = runner.predict(pixels.pin_memory())
    torch.testing.assert_close(torch.from_numpy(logits), torch.from_numpy(expected))
