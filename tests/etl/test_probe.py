"""What is measured about a model: features, operations, parameters."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from etl import cost
from etl.features import FeatureTap, last_layer
from etl.models import LoadedModel, ModelError
from etl.preprocess import Preprocess
from etl.probe import probe

NETS = {
    "alexnet": ("classifier.6", 4096, 64),
    "resnet18": ("fc", 512, 64),
    "squeezenet1_1": ("classifier.1", 512, 64),
    "densenet121": ("classifier", 1024, 64),
    "vit_b_32": ("heads.head", 768, 224),
}


@pytest.mark.parametrize("name", NETS)
def test_taps_the_input_of_the_last_layer(name):
    layer, width, side = NETS[name]
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    x = torch.randn(2, 3, side, side)
    assert last_layer(module, x[:1], 10) == layer
    with torch.no_grad(), FeatureTap(module, layer) as tap:
        logits = module(x)
        features = tap.take(logits)
    assert features.shape == (2, width)
    head = module.get_submodule(layer)
    if isinstance(head, nn.Linear):
        assert torch.allclose(head(features), logits, atol=1e-5)
    else:  # SqueezeNet: a convolution between the features and the average
        assert (features >= 0).all()
    assert not head._forward_pre_hooks


def test_without_a_last_layer_the_logits_are_the_features():
    class Constant(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4]

    module, x = Constant(), torch.randn(2, 3, 4, 4)
    assert last_layer(module, x[:1], 4) is None
    with FeatureTap(module, None) as tap:
        logits = module(x)
        assert torch.equal(tap.take(logits), logits)


def test_hooks_go_when_the_model_fails():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(1, 4))
    with pytest.raises(RuntimeError):
        last_layer(module, torch.randn(1, 3, 8, 8), 4)
    assert not any(m._forward_pre_hooks for m in module.modules())


def test_flops_are_twice_the_published_multiply_accumulates():
    module = torchvision.models.resnet50(weights=None).eval()
    assert cost.flops(module, torch.zeros(1, 3, 224, 224)) == pytest.approx(2 * 4.09e9, rel=0.01)
    assert cost.parameters(module) == 25_557_032


def test_parameters_count_shared_ones_once():
    layer = nn.Linear(3, 3)
    assert cost.parameters(nn.Sequential(layer, layer)) == 12


def test_latency_is_the_median_of_several_passes():
    passes = []

    class Counting(nn.Module):
        def forward(self, x):
            passes.append(len(x))
            return x

    assert cost.latency_ms(Counting(), torch.zeros(1, 3, 4, 4), seconds=60, repeats=7) >= 0
    assert passes == [1] * 8


def test_facts_of_a_resnet():
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None, num_classes=6).eval()
    preprocess = Preprocess(resize=None, crop=64)
    facts = probe(LoadedModel(module, preprocess, 6, "ResNet"), torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert (facts.last_layer, facts.explanation_layer, facts.input_size) == ("fc", "layer4", 64)
    assert len(facts.weights_sha256) == 64


def test_a_model_with_the_wrong_number_of_outputs_is_named():
    loaded = LoadedModel(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), Preprocess(None, 2), 4, "x")
    with pytest.raises(ModelError, match="returns 5 numbers for an image, but it is said to know 4 classes"):
        probe(loaded, torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
