"""Large fully connected layers by oneDNN against torch's own product, and what the graph says of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from etl.explain import PreparedModel, connected
from etl.explain.connected import quicken_connections
from etl.explain.graph import is_affine, last_layer

LARGE, OUTPUTS = 2048, 1100  # inputs and outputs of a layer just large enough


@pytest.fixture
def layers():
    """A frozen layer and one like it that was quickened."""
    torch.manual_seed(0)
    plain = nn.Linear(LARGE, OUTPUTS).requires_grad_(requires_grad=False)
    quickened = copy.deepcopy(plain)
    quicken_connections(quickened)
    assert type(quickened) is not nn.Linear
    return plain, quickened


@pytest.fixture
def products(monkeypatch):
    """Shapes of the rows that oneDNN was given."""
    seen = []

    def noted(rows, weight, bias):
        seen.append(tuple(rows.shape))
        return apply(rows, weight, bias)

    apply = connected._Connected.apply
    monkeypatch.setattr(connected._Connected, "apply", noted)
    return seen


@pytest.mark.parametrize("shape", [(1,), (8,), (64,), (2, 5), (1, 1), ()])
def test_equals_torch_forwards_and_backwards(layers, products, shape):
    found = []
    for layer in layers:
        torch.manual_seed(1)
        start = torch.randn(*shape, LARGE, requires_grad=True)
        scores = layer(start)
        weights = torch.randn(scores.shape)
        found.append((scores.detach(), *torch.autograd.grad(scores, start, weights)))
    assert products == [(*shape, LARGE)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("active", [0, 1, 300, 500])
def test_gradients_that_reach_few_outputs(layers, active):
    torch.manual_seed(2)
    weights = torch.randn(3, OUTPUTS)
    weights[:, torch.randperm(OUTPUTS)[active:]] = 0
    found = []
    for layer in layers:
        start = torch.randn(3, LARGE, requires_grad=True)
        found.append(torch.autograd.grad(layer(start), start, weights)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_gradients_of_several_scores_can_be_batched_and_differentiated_again(layers):
    batched, twice = [], []
    for layer in layers:
        torch.manual_seed(3)
        start = torch.randn(2, LARGE, requires_grad=True)
        scores = layer(start).tanh()

        def gradient(weights, scores=scores, start=start):
            return torch.autograd.grad(scores, start, weights, retain_graph=True)[0]

        batched.append(torch.func.vmap(gradient)(torch.randn(5, 2, OUTPUTS)))
        (first,) = torch.autograd.grad(layer(start).pow(3).sum(), start, create_graph=True)
        twice.append(torch.autograd.grad(first.square().sum(), start)[0])
    torch.testing.assert_close(batched[1], batched[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(twice[1], twice[0], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [
        ((65, LARGE), torch.float32),
        ((0, LARGE), torch.float32),
        ((2, LARGE), torch.float64),
        ((2, LARGE), torch.bfloat16),
    ],
)
def test_other_rows_go_the_way_of_torch(layers, products, rows, dtype):
    plain, quickened = (layer.to(dtype) for layer in layers)
    start = torch.randn(rows, dtype=dtype)
    assert torch.equal(quickened(start), plain(start))
    assert products == []


def test_small_layers_and_subclasses_stay_as_they_are():
    class Own(nn.Linear):
        pass

    for layer, kind in ((nn.Linear(100, 1000), nn.Linear), (Own(LARGE, OUTPUTS), Own)):
        quicken_connections(layer)
        assert type(layer) is kind


@pytest.mark.parametrize("which", [0, 1])
def test_the_graph_says_which_layer_gives_the_scores(layers, which):
    layer = layers[which]
    start = torch.randn(2, LARGE, requires_grad=True)
    hidden = start * 1
    last = last_layer(layer(hidden))
    assert last is not None
    assert torch.equal(last.weight, layer.weight)
    assert last.input.node is hidden.grad_fn
    assert is_affine(layer(hidden), hidden)
    for other in (layer(hidden).relu(), layer(start.detach()), hidden):
        assert last_layer(other) is None


def test_the_model_of_the_user_stays_as_it_is(network):
    model = network("alexnet")
    prepared = PreparedModel(model, torch.zeros(1, 3, 224, 224))
    kinds = [[type(part) for part in one.modules() if isinstance(part, nn.Linear)] for one in (model, prepared.module)]
    assert set(kinds[0]) == {nn.Linear}
    assert nn.Linear not in kinds[1]
