"""Explaining leaves the user's module, gradients and random numbers as they were."""

from __future__ import annotations

import contextlib
import gc
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from etl.explain import explain
from warehouse.errors import UserError


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    net[1].running_mean.normal_()
    return net.eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(3))


def _state(module):
    """Everything that could betray a visit."""
    return {
        "training": [m.training for m in module.modules()],
        "hooks": [
            len(getattr(m, kind))
            for m in module.modules()
            for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        ],
        "parameters": [(id(p), p.data_ptr(), p.requires_grad, p._version, p.dtype) for p in module.parameters()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in module.parameters()],
        "buffers": [(id(b), b._version, b.clone()) for b in module.buffers()],
        "attributes": [sorted(vars(m)) for m in module.modules()],
        "random": torch.get_rng_state(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
    }


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


@contextlib.contextmanager
def untouched(module):
    before = _state(module)
    yield
    after = _state(module)
    for key in before:
        assert _same(before[key], after[key]), key


def test_plain_call(model, x):
    with untouched(model):
        explain(model, x)


def test_user_gradients_stay(model, x):
    model(x).sum().backward()
    with untouched(model):
        explain(model, x)


def test_training_mode_is_explained_as_evaluation_mode(model, x):
    expected = explain(model, x)
    model.train()
    with untouched(model):
        torch.testing.assert_close(explain(model, x), expected, rtol=0, atol=0)


def test_frozen_parameters(model, x):
    expected = explain(model, x)
    model.requires_grad_(False)
    with untouched(model):
        torch.testing.assert_close(explain(model, x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradient_modes_of_the_caller(model, x, caller):
    expected = explain(model, x)
    with caller(), untouched(model):
        torch.testing.assert_close(explain(model, x.clone()), expected, rtol=0, atol=0)


def test_model_made_in_inference_mode(model, x):
    expected = explain(model, x)
    with torch.inference_mode():
        twin = nn.Sequential(*[_rebuilt(m) for m in model]).eval()
    assert next(twin.parameters()).is_inference()
    torch.testing.assert_close(explain(twin, x), expected, rtol=0, atol=0)


def _rebuilt(module):
    import copy

    return copy.deepcopy(module)


def test_autocast_of_the_caller(model, x):
    expected = explain(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16), untouched(model):
        torch.testing.assert_close(explain(model, x), expected, rtol=0, atol=0)


def test_images_that_require_gradients(model, x):
    x.requires_grad_()
    maps = explain(model, x)
    assert not maps.requires_grad
    assert x.grad is None


def test_models_that_normalise_their_input_in_place(model, x):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, y):
            return self.net(y.sub_(0.5).mul_(2.0))

    before = x.clone()
    maps = explain(InPlace(), x)
    assert torch.equal(x, before)
    torch.testing.assert_close(maps, explain(model, (x - 0.5) * 2), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
def test_threads_do_not_disturb_each_other(model, x):
    targets = [torch.tensor([c, c]) for c in range(5)]
    expected = [explain(model, x, t) for t in targets]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda t: explain(model, x, t), targets * 4))
    for i, maps in enumerate(found):
        torch.testing.assert_close(maps, expected[i % 5], rtol=0, atol=1e-6)


def test_half_precision_models_are_explained_in_float32(model, x):
    expected = explain(model, x)
    half = model.bfloat16()
    with untouched(half):
        maps = explain(half, x.bfloat16())
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected, rtol=0, atol=0.1)


def test_double_precision(model, x):
    expected = explain(model, x)
    torch.testing.assert_close(explain(model.double(), x.double()), expected, rtol=0, atol=1e-4)


def test_user_hooks_stay_and_still_work(model, x):
    seen = []
    model[4].register_forward_hook(lambda *_: seen.append(1))
    with untouched(model):
        explain(model, x)
    seen.clear()
    model(x)
    assert seen == [1]


def test_an_error_in_the_forward_pass_leaves_no_trace(model, x):
    class Fails(nn.Module):
        calls = 0

        def forward(self, y):
            Fails.calls += 1
            if Fails.calls > 1:
                raise ArithmeticError("on purpose")
            return y

    model.insert(6, Fails())
    with untouched(model), pytest.raises(ArithmeticError, match="on purpose"):
        explain(model, x)


def test_bad_targets_leave_no_trace(model, x):
    for targets in (torch.tensor([0, 5]), torch.tensor([-1, 0]), torch.tensor([0]), torch.tensor([0.0, 1.0])):
        with untouched(model), pytest.raises(UserError, match=r"[Tt]arget"):
            explain(model, x, targets)


@pytest.mark.parametrize("bad", [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [[0.0]]])
def test_bad_images_are_refused(model, bad):
    with pytest.raises(UserError, match="Images must be"):
        explain(model, bad)


def test_unknown_method_and_parameters_are_refused(model, x):
    with pytest.raises(UserError, match="grad-cam"):
        explain(model, x, method="grad-kam")
    with pytest.raises(UserError, match="no parameter 'samples'"):
        explain(model, x, samples=3)


def test_no_images_give_no_maps(model, x):
    assert explain(model, x[:0]).shape == (0, 20, 20)


def test_nothing_is_kept_alive(model, x):
    explain(model, x)
    gc.collect()
    before = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    for _ in range(20):
        explain(model, x)
    gc.collect()
    assert sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()) == before


def test_a_map_without_evidence_is_zeros_and_said_so(x):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[4].weight[0] = -1.0  # class 0 has no feature that speaks for it
        model[4].weight[1] = 1.0
    with pytest.warns(UserWarning, match="1 of 2 maps of Grad-CAM are zero everywhere: constant map"):
        maps = explain(model, x, torch.tensor([0, 1]))
    assert not maps[0].any()
    assert maps[1].max() == 1


def test_scores_that_are_not_finite_give_zeros_never_nan(model, x):
    with torch.no_grad():
        model[8].weight[0] = float("nan")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps = explain(model, x, torch.tensor([0, 1]))
    assert "not finite" in str(caught[0].message)
    assert torch.isfinite(maps).all()
    assert not maps[0].any()
    with pytest.raises(UserError, match="not finite"):
        explain(model, x)


def test_wrapped_models(model, x):
    expected = explain(model, x)
    torch.testing.assert_close(explain(nn.DataParallel(model), x), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(explain(torch.compile(model, backend="eager"), x), expected, rtol=0, atol=1e-6)


def test_parametrised_and_weight_normed_models(model, x):
    expected = explain(model, x)
    nn.utils.parametrizations.weight_norm(model[4])
    with untouched(model):
        torch.testing.assert_close(explain(model, x), expected, rtol=0, atol=1e-5)


def test_scripted_and_lazy_models_are_refused(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(model)
    with pytest.raises(UserError, match="TorchScript"):
        explain(scripted, x)
    with pytest.raises(UserError, match="lazy"):
        explain(nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten()), x)


@pytest.mark.parametrize("wrap", ["tuple", "dict", "record"])
def test_models_with_several_outputs(model, x, wrap):
    from collections import namedtuple

    record = namedtuple("Record", ["features", "logits"])

    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, y):
            logits = self.net(y)
            return {
                "tuple": (logits, y),
                "dict": {"features": torch.zeros(len(y), 4), "logits": logits},
                "record": record(torch.zeros(len(y), 4), logits),
            }[wrap]

    torch.testing.assert_close(explain(Several(), x), explain(model, x), rtol=0, atol=0)


def test_a_model_that_is_no_classifier_is_refused(x):
    with pytest.raises(UserError, match="class scores of shape"):
        explain(nn.Conv2d(3, 4, 3), x)
