"""What every visual explanation method must do, whoever wrote it: run over all plug-ins of the group."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch
from torch import nn

from etl.explain import Cancelled, Context, Method, PreparedModel, canonical, explain, parameters_of
from etl.explain.postprocess import normalise
from etl.plugins import METHODS, plugins
from warehouse.errors import UserError

BUDGETS = {"bbmp": {"iterations": 4}, "smooth-grad-cam++": {"samples": 2}}
"""Parameters that make slow methods quick; a contract does not depend on them."""

pytestmark = pytest.mark.filterwarnings("ignore:.*zero everywhere")


@pytest.fixture(params=sorted(plugins(METHODS)))
def method(request) -> Method:
    return plugins(METHODS)[request.param].load()()


@pytest.fixture
def budget(method):
    return BUDGETS.get(method.name, {})


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4),
        )
        nn.init.uniform_(net[7].weight, -1, 2)
    return net.eval()


@pytest.fixture
def images():
    return torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def targets():
    return torch.tensor([2, 0, 3])


def _attribute(method, model, images, targets, budget, context=None):
    prepared = PreparedModel(model, images)
    with prepared.session():
        parameters = parameters_of(method, budget)
        return method.attribute(prepared, prepared.images(images), targets, parameters, context or Context())


def test_describes_itself(method):
    assert isinstance(method, Method)
    assert re.fullmatch(r"[a-z0-9+]+(-[a-z0-9+]+)*", method.name)
    assert method.title
    assert method.paper
    assert method.description.endswith(".")
    assert isinstance(method.version, int)
    assert method.version >= 1


def test_is_named_as_its_plugin():
    for name, plugin in plugins(METHODS).items():
        assert plugin.load()().name == name


def test_parameters_are_frozen_with_defaults_and_json(method):
    assert dataclasses.is_dataclass(method.Parameters)
    parameters = method.Parameters()
    for field in dataclasses.fields(parameters):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(parameters, field.name, None)
    assert json.loads(canonical(parameters)) == dataclasses.asdict(parameters)
    assert method.Parameters(**json.loads(canonical(parameters))) == parameters


def test_unknown_parameters_are_refused(method):
    with pytest.raises(UserError, match="no parameter 'nonsense'"):
        parameters_of(method, {"nonsense": 1})


def test_cost_is_a_positive_number_of_forward_passes(method, budget):
    assert method.cost(parameters_of(method, budget), channels=512) > 0


def test_maps_are_small_finite_and_as_many_as_images(method, model, images, targets, budget):
    found = _attribute(method, model, images, targets, budget)
    assert found.maps.ndim == 3
    assert len(found.maps) == len(found.flags) == len(images)
    assert found.maps.dtype == torch.float32
    assert not found.maps.requires_grad
    assert torch.isfinite(found.maps).all()
    assert torch.equal(found.targets, targets)


def test_scores_are_those_of_the_model(method, model, images, targets, budget):
    expected = model(images).detach()
    told = _attribute(method, model, images, targets, budget).logits
    asked = _attribute(method, model, images, None, budget).logits
    assert asked is not None  # how else would it know what is predicted?
    for logits in [asked] if told is None else [asked, told]:
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_attention_is_stretched_to_the_unit_interval(method, model, images, targets, budget):
    maps = explain(model, images, targets, method, **budget)
    assert maps.shape == (3, 24, 20)
    assert maps.dtype == torch.float32
    assert maps.min() == 0
    assert maps.max() == 1


def test_predicted_classes_are_the_default(method, model, images, budget):
    predicted = model(images).argmax(1)
    maps = explain(model, images, None, method, **budget)
    torch.testing.assert_close(maps, explain(model, images, predicted, method, **budget), rtol=0, atol=1e-5)


def test_the_target_matters(method, model, images, targets, budget):
    one = _attribute(method, model, images, targets, budget).maps
    other = _attribute(method, model, images, (targets + 1) % 4, budget).maps
    assert not torch.allclose(one, other, rtol=1e-3)


def test_the_same_request_gives_the_same_map(method, model, images, targets, budget):
    first = explain(model, images, targets, method, **budget)
    torch.manual_seed(99)
    assert torch.equal(explain(model, images, targets, method, **budget), first)


@pytest.mark.parametrize("chunk", [1, 2])
def test_neither_batch_nor_chunk_matters(method, model, images, targets, budget, chunk):
    whole = _attribute(method, model, images, targets, budget).maps
    chunked = _attribute(method, model, images, targets, budget, Context(chunk=chunk)).maps
    singles = torch.cat(
        [_attribute(method, model, images[i : i + 1], targets[i : i + 1], budget).maps for i in range(3)]
    )
    for other in (chunked, singles):
        torch.testing.assert_close(normalise(other), normalise(whole), rtol=0, atol=1e-3)


def test_leaves_no_trace(method, model, images, targets, budget):
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.inference_mode():
        state = torch.get_rng_state()
        explain(model, images, targets, method, **budget)
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(m.training and not m._forward_hooks and not m._backward_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_stops_when_nobody_waits(method, model, images, targets, budget):
    prepared = PreparedModel(model, images)
    with prepared.session(), pytest.raises(Cancelled):
        method.attribute(
            prepared,
            prepared.images(images),
            targets,
            parameters_of(method, budget),
            Context(chunk=1, cancelled=lambda: True),
        )
    assert prepared.forwards <= 40


def test_progress_never_goes_back(method, model, images, targets, budget):
    seen = []
    context = Context(chunk=1, progress=lambda fraction, maps: seen.append(fraction))
    _attribute(method, model, images, targets, budget, context)
    assert seen
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= 1
