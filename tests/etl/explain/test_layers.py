"""The layer that is explained, found without being named."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from etl.demo.architectures import ARCHITECTURES, build
from etl.explain import PreparedModel, explain
from warehouse.errors import UserError

EXPECTED = {
    "alexnet": "features.11",
    "resnet18": "layer4",
    "resnet34": "layer4",
    "resnet50": "layer4",
    "resnet101": "layer4",
    "resnet152": "layer4",
    "squeezenet1_0": "features",
    "squeezenet1_1": "features",
    "densenet121": "features",
    "densenet169": "features",
    "mobilenet_v2": "features",
    "shufflenet_v2_x0_5": "conv5",
    "shufflenet_v2_x1_0": "conv5",
    "efficientnet_b0": "features",
    "mobilenet_v3_small": "features",
    "convnext_tiny": "features",
    "vgg11": "features.19",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "mnasnet0_5": "layers",
    "regnet_y_400mf": "trunk_output",
    "swin_t": "permute",
    "efficientnet-lite0": "_swish (call 2)",
}


@pytest.mark.parametrize(("name", "layer"), EXPECTED.items(), ids=str)
def test_finds_the_last_feature_map(network, images, name, layer):
    side = 128 if name == "inception_v3" else 64
    image = F.interpolate(images[:1], size=(side, side))
    prepared = PreparedModel(network(name), image)
    assert str(prepared.layer) == layer
    with prepared.session():
        cut = prepared.cut(prepared.images(image))
        gradients = cut.gradients(cut.logits.argmax(dim=1))
    assert cut.activations.shape == gradients.shape
    assert cut.activations.shape[2] * cut.activations.shape[3] > 1
    assert gradients.abs().sum() > 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_demo_networks_end_on_maps_of_five_by_five_or_finer(name):
    model = build(name).eval()
    prepared = PreparedModel(model, torch.zeros(1, 3, 96, 96))
    with prepared.session():
        activations = prepared.cut(prepared.images(torch.randn(2, 3, 96, 96))).activations
    assert min(activations.shape[2:]) >= 5


def test_tokens_of_a_vision_transformer_become_a_map(network):
    model, image = network("vit_b_16"), torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    prepared = PreparedModel(model, image)
    assert (prepared.layer.name, prepared.layer.grid) == ("encoder.layers.encoder_layer_11.ln_1", (14, 14))
    with prepared.session():
        activations = prepared.cut(prepared.images(image)).activations
    assert activations.shape == (1, 768, 14, 14)
    # Row 2, column 3 of the patches is token 1 + 2 * 14 + 3, behind the class token.
    tokens = []
    handle = model.encoder.layers[-1].ln_1.register_forward_hook(lambda *args: tokens.append(args[2]))
    with torch.no_grad():
        model(image)
    handle.remove()
    torch.testing.assert_close(activations[0, :, 2, 3], tokens[0][0, 32])


def test_a_layer_can_be_named(network, images, speaking_targets):
    model = network("resnet18")
    targets = speaking_targets(model, images)
    early, late = explain(model, images, targets, layer="layer2"), explain(model, images, targets, layer="layer4")
    assert not torch.allclose(early, late, atol=0.1)
    torch.testing.assert_close(late, explain(model, images, targets), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", ["layr4", "fc", "avgpool", ""])
def test_a_layer_that_cannot_serve_is_refused_with_those_that_can(network, images, layer):
    with pytest.raises(UserError, match="layer4"):
        explain(network("resnet18"), images, layer=layer)


def test_a_layer_that_the_scores_do_not_depend_on_is_refused(images):
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(3, 5)
            self.side = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.side(x)
            return self.fc(x.mean((2, 3))) + self.conv(x).mean()

    with pytest.raises(UserError, match="do not depend on layer 'side'"):
        explain(Detached(), images, layer="side")


def test_a_network_without_maps_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    with pytest.raises(UserError, match="no layer that returns a feature map"):
        explain(model, torch.randn(2, 3, 4, 4))


def test_an_activation_shared_by_all_layers_is_cut_at_its_last_map():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.act = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.ReLU6()
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

        def forward(self, x):
            x = self.act(self.b(self.act(self.a(x))))
            return self.fc(self.act(self.pool(x)).flatten(1))

    model, x = Shared(), torch.randn(1, 3, 10, 10)
    prepared = PreparedModel(model, x)
    assert (prepared.layer.name, prepared.layer.call) == ("act", 2)
    with prepared.session():
        activations = prepared.cut(prepared.images(x)).activations
    torch.testing.assert_close(activations, F.relu6(model.b(F.relu6(model.a(x)))).detach())


def test_activations_are_those_behind_an_in_place_relu(network, images):
    model = network("densenet121")
    prepared = PreparedModel(model, images)
    with prepared.session():
        activations = prepared.cut(prepared.images(images)).activations
    with torch.no_grad():
        torch.testing.assert_close(activations, F.relu(model.features(images)))
    assert activations.min() == 0
