"""Large fully connected layers by oneDNN and by loops against torch's own product, and what the graph says of them."""

from __future__ import annotations

import copy
import math

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
    return _layers(LARGE, OUTPUTS)


def _layers(inputs, outputs):
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs).requires_grad_(requires_grad=False)
    quickened = copy.deepcopy(plain)
    quicken_connections(quickened)
    assert type(quickened) is not nn.Linear
    return plain, quickened


@pytest.fixture(params=["loops", "no compiler"])
def loops(request, monkeypatch):
    """Loops, and what is done where they cannot be compiled; how many of them ran, forwards and backwards."""
    ran = []
    if request.param == "no compiler":
        monkeypatch.setattr(connected, "load", lambda *_: None)
        return ran
    for name in ("_forwards", "_backwards"):
        loop = getattr(connected, name)
        monkeypatch.setattr(connected, name, lambda *args, loop=loop, name=name: ran.append(name) or loop(*args))
    return ran


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


@pytest.mark.parametrize("outputs", [OUTPUTS, OUTPUTS + 1, OUTPUTS + 2, OUTPUTS + 3])
@pytest.mark.parametrize("shape", [(1,), (3,), (8,), (64,), (65,), (2, 5), (1, 1), ()])
def test_equals_torch_forwards_and_backwards(products, loops, request, shape, outputs):
    layers = _layers(LARGE, outputs)
    expected = ["_forwards"] * (math.prod(shape) <= 4) + ["_backwards"] * (math.prod(shape) <= 64)
    found = []
    for layer in layers:
        torch.manual_seed(1)
        start = torch.randn(*shape, LARGE, requires_grad=True)
        scores = layer(start)
        weights = torch.randn(scores.shape)
        found.append((scores.detach(), *torch.autograd.grad(scores, start, weights)))
    few = math.prod(shape) <= 64
    assert products == [(*shape, LARGE)] * few
    assert loops == (expected if "no" not in request.node.callspec.params["loops"] else [])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(2**21, 1), (2**20 + 3, 3), (700001, 5), (1021, 2063)])
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_of_any_size(inputs, outputs, rows):
    found = []
    for layer in _layers(inputs, outputs):
        start = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(1)).requires_grad_()
        scores = layer(start)
        found.append((scores.detach(), *torch.autograd.grad(scores.square().sum(), start)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("active", [0, 1, 7, 8, 300, 500])
@pytest.mark.usefixtures("loops")
def test_gradients_that_reach_few_outputs(layers, active):
    torch.manual_seed(2)
    weights = torch.randn(3, OUTPUTS)
    weights[:, torch.randperm(OUTPUTS)[active:]] = 0
    found = []
    for layer in layers:
        start = torch.randn(3, LARGE, requires_grad=True)
        found.append(torch.autograd.grad(layer(start), start, weights)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("loops")
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


def test_rows_that_lie_apart(layers, loops, request):
    rows = torch.randn(LARGE, 3).T
    gradients = torch.randn(OUTPUTS, 3).T
    found = []
    for layer in layers:
        start = rows.clone(memory_format=torch.preserve_format).requires_grad_()
        found.append((layer(start), *torch.autograd.grad(layer(start), start, gradients)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
    assert len(loops) == (3 if "no" not in request.node.callspec.params["loops"] else 0)


def test_nan_and_infinity_stay(layers):
    for value in (torch.nan, torch.inf):
        rows, gradients = torch.randn(2, LARGE), torch.randn(2, OUTPUTS)
        rows[0, 5] = gradients[1, 7] = value
        found = []
        for layer in layers:
            start = rows.clone().requires_grad_()
            scores = layer(start)
            found.append((scores, *torch.autograd.grad(scores, start, gradients)))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


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
