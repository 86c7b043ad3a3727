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


class Small(nn.Module):
    """Two convolutions and a linear layer; what happens on the way is up to the test."""

    def __init__(self, features):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.bn, self.fc = nn.BatchNorm2d(6), nn.Linear(6, 5)
        self.features = features
        self.eval()

    def forward(self, x):
        return self.fc(self.features(self, x).mean((2, 3)))


WITHOUT_A_MODULE = {
    "relu()": lambda m, x: F.relu(m.bn(m.b(m.a(x)))),
    "silu()": lambda m, x: F.silu(m.bn(m.b(m.a(x)))),
    "relu() (call 2)": lambda m, x: torch.relu(m.b(m.a(x).relu())),
    "add()": lambda m, x: m.b(F.gelu(m.a(x))) + m.a(x),
    "leaky_relu()": lambda m, x: F.leaky_relu(m.bn(m.b(m.a(x))) + m.a(x)),
    "hardtanh()": lambda m, x: F.dropout(F.hardtanh(m.b(m.a(x))), 0.5, training=m.training),
}


@pytest.mark.parametrize("fold", [False, True], ids=["plain", "folded"])
@pytest.mark.parametrize("layer", WITHOUT_A_MODULE)
def test_an_activation_function_that_is_no_module_is_found(images, layer, fold):
    """The map that the head consumes is explained, with the gradients that the head has there."""
    model = Small(WITHOUT_A_MODULE[layer])
    prepared = PreparedModel(model, images, fold=fold)
    assert str(prepared.layer) == layer
    with prepared.session():
        cut = prepared.cut(prepared.images(images))
        gradients = cut.gradients(torch.tensor([1, 3]))
    with torch.no_grad():
        torch.testing.assert_close(cut.activations, model.features(model, images), rtol=1e-4, atol=1e-5)
        pixels = images.shape[2] * images.shape[3]
        torch.testing.assert_close(gradients, (model.fc.weight[[1, 3]] / pixels)[:, :, None, None].expand_as(gradients))


def test_the_map_before_a_pooling_function_is_taken(images):
    model = Small(lambda m, x: F.max_pool2d(F.relu(m.b(F.avg_pool2d(m.a(x), 2))), 2))
    prepared = PreparedModel(model, images)
    assert str(prepared.layer) == "relu()"
    with prepared.session():
        assert prepared.cut(prepared.images(images)).activations.shape == (2, 6, 32, 32)


@pytest.mark.parametrize(
    "features",
    [
        lambda m, x: m.b(m.a(x)) * F.relu6(m.b(m.a(x)) + 3) / 6,  # a gate, beside which the map itself goes on
        lambda m, x: m.b(m.a(x)) + 0 * F.relu(m.a(x)).sum(),
    ],
    ids=["gate", "branch"],
)
def test_a_function_that_not_everything_comes_through_is_not_taken(images, features):
    assert PreparedModel(Small(features), images).layer.name in {"b", "add"}


@pytest.mark.parametrize(
    "features",
    [
        lambda m, x: F.relu(m.b(m.a(x)), inplace=True),
        lambda m, x: m.b(m.a(x)).add_(x.mean()).relu_(),
        lambda m, x: torch.relu_(m.b(m.a(x))),
    ],
    ids=["inplace=True", "methods", "function"],
)
def test_what_works_in_place_belongs_to_the_layer_before(images, features):
    model = Small(features)
    prepared = PreparedModel(model, images)
    assert str(prepared.layer) == "b"
    with prepared.session():
        activations = prepared.cut(prepared.images(images)).activations
    with torch.no_grad():
        torch.testing.assert_close(activations, features(model, images.clone()))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-lite0", "vit_b_16"])
def test_a_layer_can_be_named_as_it_is_printed(network, images, name):
    images = F.interpolate(images, size=224) if name == "vit_b_16" else images
    found = PreparedModel(network(name), images[:1]).layer
    assert PreparedModel(network(name), images[:1], str(found)).layer == found


def test_a_function_can_be_named_as_it_is_printed(images):
    model = Small(WITHOUT_A_MODULE["relu() (call 2)"])
    assert PreparedModel(model, images, "relu() (call 2)").layer == PreparedModel(model, images).layer
    assert str(PreparedModel(model, images, "relu()").layer) == "relu()"


def test_a_folded_batch_normalisation_can_be_named(images):
    model = Small(lambda m, x: F.relu(m.bn(m.b(m.a(x)))))
    prepared = PreparedModel(model, images, "bn", fold=True)
    with prepared.session():
        activations = prepared.cut(prepared.images(images)).activations
    with torch.no_grad():
        torch.testing.assert_close(activations, model.bn(model.b(model.a(images))), rtol=1e-4, atol=1e-5)


def test_images_need_not_be_square(network):
    """Swin transformers keep their maps as (B, h, w, C), ResNets as (B, C, h, w)."""
    image = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    for name, layer, shape in (
        ("swin_t", "norm", (1, 768, 3, 5)),
        ("swin_t", None, (1, 768, 3, 5)),
        ("resnet18", None, (1, 512, 3, 5)),
        ("resnet18", "layer3", (1, 256, 6, 10)),
    ):
        prepared = PreparedModel(network(name), image, layer)
        with prepared.session():
            assert prepared.cut(prepared.images(image)).activations.shape == shape
        heatmap = explain(network(name), image, torch.tensor([5]), layer=layer)
        assert heatmap.shape == (1, 96, 160)


class Tokens(nn.Module):
    """A transformer, as small as it can be; ``prefix`` tokens that are no patches come first."""

    def __init__(self, prefix=0, pooling="mean", side=4):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.patches = nn.Conv2d(3, 8, side, stride=side)
            self.prefix = nn.Parameter(torch.randn(1, prefix, 8))
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 5)
        self.pooling = pooling
        self.eval()

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.prefix.expand(len(x), -1, -1), tokens], dim=1)
        tokens = self.norm(self.block(tokens))
        return self.fc(tokens[:, 0] if self.pooling == "first" else tokens.mean(1))


@pytest.mark.parametrize(
    ("size", "grid"), [((16, 16), (4, 4)), ((24, 16), (6, 4)), ((13, 30), (3, 7)), ((8, 12), (2, 3))], ids=str
)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_are_put_back_on_the_image(size, grid, prefix):
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    prepared = PreparedModel(Tokens(prefix), image)
    assert (prepared.layer.name, prepared.layer.grid) == ("norm", grid)


def test_behind_the_last_attention_a_class_token_does_not_look_at_the_patches():
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert PreparedModel(Tokens(1, "first"), image).layer.name == "block.norm1"


def test_tokens_without_a_place_on_the_image_are_refused():
    class Scattered(Tokens):
        def forward(self, x):
            return self.fc(self.norm(self.block(self.patches(x).flatten(2).transpose(1, 2)[:, :46])).mean(1))

    with pytest.raises(UserError, match="sequences of 46 tokens, whose places on the image cannot be told"):
        explain(Scattered(), torch.randn(1, 3, 28, 28))


def test_a_small_transformer_may_pool_a_convolutional_network():
    """Its sequences have no place on the image, but the map before them has."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            layers = [nn.Conv2d(3, 8, 3, stride=2)]
            for _ in range(9):
                layers += [nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
            self.features = nn.Sequential(*layers)
            self.query = nn.Parameter(torch.randn(1, 11, 8))
            self.norm, self.k, self.v, self.fc = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x):
            tokens = self.features(x).flatten(2).transpose(1, 2)
            query = self.norm(self.query.expand(len(x), -1, -1))
            return self.fc((torch.softmax(query @ self.k(tokens).mT, dim=2) @ self.v(tokens)).mean(1))

    assert PreparedModel(Pooled().eval(), torch.randn(1, 3, 16, 16)).layer.name == "features"


def test_queries_inside_a_block_are_no_map():
    """Normalised queries (B, heads, tokens, width) look like the map of an image, and come after the tokens."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.q_norm, self.k_norm = nn.Linear(8, 24), nn.LayerNorm(4), nn.LayerNorm(4)

        def forward(self, x):
            q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
            return mixed.transpose(1, 2).reshape(x.shape)

    class Normed(Tokens):
        def __init__(self):
            super().__init__(1, "first")
            self.block = nn.Sequential(nn.LayerNorm(8), Attention())

    assert PreparedModel(Normed(), torch.randn(1, 3, 8, 8)).layer.name == "block.0"


def test_a_network_inside_a_module_that_returns_a_sequence(images):
    """The encoder returns (B, C, h * w): these are not C tokens."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.Sequential(nn.Conv2d(3, 9, 3, stride=4), nn.ReLU(), nn.Conv2d(9, 9, 3), nn.ReLU())

        def forward(self, x):
            return self.convs(x).flatten(2)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.fc = Encoder(), nn.Linear(9, 5)

        def forward(self, x):
            return self.fc(self.encoder(x).mean(2))

    assert PreparedModel(Whole().eval(), images).layer.name == "encoder.convs"
