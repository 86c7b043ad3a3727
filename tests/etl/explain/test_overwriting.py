"""Activation functions write over what they read only where that changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from etl.explain.overwriting import overwritable, overwriting
from etl.explain.prepared import PreparedModel


class Net(nn.Module):
    """Conv, norm, activation; what happens to the tensor in between is for subclasses to say."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        return self.end(self.norm(self.conv(x)))

    def end(self, y):
        return self.act(y).mean((2, 3))


class Residual(Net):
    def end(self, y):
        return (self.act(y) + y).mean((2, 3))


class Kept(Net):
    def end(self, y):
        self.kept = [y]
        return torch.cat([self.act(y), *self.kept]).mean((0, 2, 3))[None]


class View(Net):
    def end(self, y):
        return self.act(y.flatten(1)).view_as(y).mean((2, 3))


class Returned(Net):
    def end(self, y):
        return self.act(y).mean((2, 3)), y


class OnceMore(Net):
    def end(self, y):
        return self.act(self.act(y) + 1).mean((2, 3))


class Twice(Net):
    def end(self, y):
        return (self.act(y) * self.act(y)).mean((2, 3))


class OfTheImage(Net):
    def forward(self, x):
        return self.end(self.norm(self.conv(self.act(x) + x)))


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x


class ByFunction(Net):
    def end(self, y):
        doubled = Double.apply(y)
        return (self.act(y) + doubled).mean((2, 3))


IMAGES = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)) - 0.5


def _built(kind):
    torch.manual_seed(0)
    model = kind().eval()
    model.norm.running_mean.normal_()
    return model


def _first(output):
    return output if isinstance(output, torch.Tensor) else torch.cat([part.flatten() for part in output])


def test_what_nobody_else_reads_is_written_over():
    model = _built(Net)
    expected = model(IMAGES)
    assert overwritable(model, IMAGES[:1]) == [model.act]
    seen = []
    model.norm.register_forward_hook(lambda _part, _args, output: seen.append(output))
    with torch.no_grad(), overwriting([model.act]):
        assert torch.equal(model(IMAGES), expected)
    assert seen[0].min() == 0
    assert not model.act.inplace


@pytest.mark.parametrize("kind", [Residual, Kept, View, Returned, OnceMore, Twice, OfTheImage, ByFunction])
def test_what_anybody_else_may_read_is_left_alone(kind):
    model = _built(kind)
    assert overwritable(model, IMAGES[:1]) == []
    assert not any(part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize(
    "act", [nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.LeakyReLU(), nn.ReLU(inplace=True), nn.GELU()]
)
def test_of_all_kinds_that_can(act):
    model = _built(Net)
    model.act = act
    can = getattr(act, "inplace", True) is False
    expected = model(IMAGES)
    found = overwritable(model, IMAGES[:1])
    assert found == [act] * can
    with torch.no_grad(), overwriting(found):
        assert torch.equal(_first(model(IMAGES)), _first(expected))


def test_a_network_with_hooks_has_none():
    model = _built(Net)
    model.norm.register_forward_hook(lambda *_: None)
    assert overwritable(model, IMAGES[:1]) == []


def test_after_an_error_nothing_is_written_over():
    act = nn.ReLU()
    with pytest.raises(ZeroDivisionError), overwriting([act]):
        raise ZeroDivisionError
    assert not act.inplace


def test_a_prepared_model_scores_alike_and_explains_what_it_did_before():
    model = _built(Net)
    plain = PreparedModel(model, IMAGES, "norm")
    folded = PreparedModel(model, IMAGES, "norm", fold=True)
    assert folded._overwriting == [folded.module.act]
    torch.testing.assert_close(folded.scores(IMAGES), plain.scores(IMAGES))
    lower = folded.scores(IMAGES, torch.bfloat16)
    torch.testing.assert_close(lower, plain.scores(IMAGES), rtol=0.05, atol=0.02)
    torch.testing.assert_close(folded.cut(IMAGES).activations, plain.cut(IMAGES).activations)
    assert folded.cut(IMAGES).activations.min() < 0  # what the layer gave, before the activation function
    assert not model.act.inplace
