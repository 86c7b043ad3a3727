"""What every model provider promises, built in or not; see ``etl.models.ModelProvider``.

The suite runs over all installed plug-ins. Providers whose packages are missing are skipped.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from etl.classes import imagenet
from etl.models import LoadedModel, ModelError, ModelProvider, provider
from etl.plugins import MODELS, plugins
from etl.preprocess import Preprocessing

NAMES = sorted(plugins(MODELS))
FACTORY = """
import torch
from torch import nn
from etl.preprocess import Preprocess

def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return net, Preprocess(resize=20, crop=16), ["a", "b"]
"""


@pytest.fixture(params=NAMES)
def source(request) -> ModelProvider:
    found = provider(request.param)
    if found.available() is not None:
        pytest.skip(found.available())
    return found


@pytest.fixture
def model_name(source, tmp_path, monkeypatch) -> str:
    """The name of a model that loads offline."""
    if source.name == "python":
        (tmp_path / "contract_nets.py").write_text(FACTORY)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "contract_nets", raising=False)
        return "contract_nets:make"
    if source.name == "torchvision":
        import torchvision

        state = torchvision.models.squeezenet1_1(weights=None, num_classes=4).state_dict()
        torch.save(state, tmp_path / "m.pth")
        return f"squeezenet1_1@{tmp_path / 'm.pth'}"
    if source.name == "timm":
        import timm

        torch.save(timm.create_model("resnet10t", num_classes=4).state_dict(), tmp_path / "m.pth")
        return f"resnet10t@{tmp_path / 'm.pth'}"
    return source.names()[0]


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself_without_loading(name):
    found = provider(name)
    assert isinstance(found, ModelProvider)
    assert found.name == name
    assert len(found.description) > 20
    reason = found.available()
    assert reason is None or "install" in reason or "train" in reason


def test_names_are_distinct_and_plain(source):
    names = list(source.names())
    assert len(names) == len(set(names))
    assert not any(character in name for name in names for character in ":@, ")


def test_loads_a_classifier_ready_to_run(source, model_name):
    model = source.load(model_name)
    assert isinstance(model, LoadedModel)
    assert isinstance(model.preprocess, Preprocessing)
    assert not any(module.training for module in model.module.modules())
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert {p.device.type for p in model.module.parameters()} == {"cpu"}
    assert model.family
    for known in (model.class_names, model.class_wnids):
        assert known is None or len(known) == model.outputs


def test_classifies_what_it_preprocesses(source, model_name):
    model = source.load(model_name)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (side, 130, 3), dtype=np.uint8)) for side in (110, 150)]
    pixels = torch.stack([model.preprocess.pixels(image) for image in images])
    batch = model.preprocess.batch(pixels)
    assert batch.dtype == torch.float32
    assert model.preprocess.input_size in {None, batch.shape[-1]}
    assert model.preprocess.view(images[0]).size == (batch.shape[3], batch.shape[2])
    with torch.inference_mode():
        logits = model.module(batch)
        single = model.module(batch[1:])
    assert logits.shape == (2, model.outputs)
    torch.testing.assert_close(single, logits[1:], rtol=1e-3, atol=1e-3)  # no image depends on the others


def test_loads_the_same_model_again(source, model_name):
    first, second = source.load(model_name), source.load(model_name)
    assert first.module is not second.module
    assert first.preprocess.fingerprint() == second.preprocess.fingerprint()
    for (name, a), (other, b) in zip(
        first.module.state_dict().items(), second.module.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)


def test_fingerprint_is_stable(source, model_name):
    first = source.fingerprint(model_name)
    source.load(model_name)
    assert source.fingerprint(model_name) == first
    assert first is None or len(first) > 8


def test_imagenet_outputs_carry_wordnet_ids(source, model_name):
    model = source.load(model_name)
    if model.class_wnids is not None and model.outputs == 1000:
        assert model.class_wnids == imagenet().wnids


def test_a_model_that_does_not_exist_is_a_clear_error(source):
    with pytest.raises((ModelError, ValueError, KeyError)) as raised:
        source.load("no_such_model_at_all@/nowhere/m.pth")
    assert str(raised.value)
