"""Convolutions merged with what follows them give what they gave before, whatever a network does with the parts."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from etl.explain import merging as module_of_merging
from etl.explain.layers import Layer
from etl.explain.merging import Merging, Plan, mergeable
from etl.explain.prepared import PreparedModel
from etl.explain.sums import Sum

LEAST = module_of_merging._LEAST
IMAGES = torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(0)) - 0.5


class Net(nn.Module):
    """Two convolutions, summed as subclasses say."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.left = nn.Conv2d(16, 16, 3, padding=1)
        self.right = nn.Conv2d(16, 16, 1, bias=False)
        self.head = nn.Linear(16, 5)
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, x):
        return self.head(self.middle(self.stem(x)).mean((2, 3)))

    def middle(self, x):
        return F.relu(self.left(F.relu(x)))


class InPlace(Net):
    def middle(self, x):
        x = F.relu(x, inplace=True)
        y = self.left(x * 2)
        y += x
        return F.relu(y, inplace=True)


class ByOperator(Net):
    def middle(self, x):
        x = torch.relu_(x)
        return F.relu6(x + self.left(x * 2), inplace=True)


class TwoConvolutions(Net):
    def middle(self, x):
        y = self.left(x)
        y += self.right(x)
        return F.hardtanh(y, -0.5, 0.5, inplace=True)


class OtherIsReadLater(Net):
    def middle(self, x):
        x = torch.relu_(x)
        return torch.add(self.left(x * 2), x) * x


class ResultIsReadLater(Net):
    def middle(self, x):
        y = self.left(x)
        return (y + x) * y


class ResultOfInPlaceIsReadLater(Net):
    def middle(self, x):
        y = self.left(x.relu())
        z = y.add_(x)
        return z * y


class OntoItsInput(Net):
    def middle(self, x):
        x += self.left(x)
        return x


class OfItsInput(Net):
    def middle(self, x):
        return F.relu(self.left(x) + x, inplace=True)


class OntoAView(Net):
    def middle(self, x):
        x = torch.relu_(x)
        half, _ = x.chunk(2, dim=1)
        y = F.conv2d(x * 2, self.left.weight, None, 1, 1)[:, :8] + half
        return torch.cat([y, x[:, 8:]], dim=1)


class Broadcast(Net):
    def middle(self, x):
        return self.left(x) + x.mean((2, 3), keepdim=True).relu_()


class InputChangesAfterwards(Net):
    def middle(self, x):
        y = self.left(x)
        x.relu_()
        return y + x


class OtherChangesBetween(Net):
    def middle(self, x):
        x = x * 2
        y = self.left(x) + x
        x.zero_()
        return F.relu(y, inplace=True) + x


class ActivatedTwice(Net):
    def middle(self, x):
        y = self.left(x)
        z = F.relu(y, inplace=True)
        return y + z


class NotInPlace(Net):
    def middle(self, x):
        y = self.left(x)
        return F.relu(y) - y


class Shapes(Net):
    def middle(self, x):
        y = self.left(x)
        return F.adaptive_avg_pool2d(y, (y.shape[2] // 2, y.size(3) // 2))


class TwiceTheSame(Net):
    def middle(self, x):
        x = self.left(torch.relu_(x))
        return self.left(x) + x


class Scaled(Net):
    def middle(self, x):
        return torch.add(self.left(x), x, alpha=2)


class Itself(Net):
    def middle(self, x):
        y = self.left(x)
        return y + y


class Returned(Net):
    def forward(self, x):
        y = torch.relu_(self.stem(x))
        z = self.left(y * 2) + y
        return z.mean((2, 3)), y


class EndsInAConvolution(Net):
    def forward(self, x):
        return self.right(self.stem(x))


class Strided(Net):
    def middle(self, x):
        return F.conv2d(x, self.left.weight, self.left.bias, stride=(2, 1), padding="valid") + 1


class Unbatched(Net):
    def middle(self, x):
        return torch.stack([self.left(one) for one in x])


KINDS = {
    Net: {},
    InPlace: {"left.weight": Sum(overwrites=True)},
    ByOperator: {"left.weight": Sum(overwrites=True)},
    TwoConvolutions: {"left.weight": Sum(overwrites=True), "right.weight": Sum(overwrites=False)},
    OtherIsReadLater: {"left.weight": Sum(overwrites=False)},
    ResultIsReadLater: {},
    ResultOfInPlaceIsReadLater: {"left.weight": Sum(overwrites=True)},
    OntoItsInput: {"left.weight": Sum(overwrites=False)},
    OfItsInput: {"left.weight": Sum(overwrites=True)},
    OntoAView: {},
    Broadcast: {},
    InputChangesAfterwards: {"left.weight": Sum(overwrites=True)},
    OtherChangesBetween: {"left.weight": Sum(overwrites=False)},
    ActivatedTwice: {},
    NotInPlace: {},
    Shapes: {},
    TwiceTheSame: {},
    Scaled: {},
    Itself: {},
    Returned: {"left.weight": Sum(overwrites=False)},
    EndsInAConvolution: {},
    Strided: {},
    Unbatched: {},
}


def _parts(output):
    return output if isinstance(output, tuple) else (output,)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_scores_stay(kind):
    model = kind().to(memory_format=torch.channels_last)
    plan = mergeable(model, IMAGES[:1])
    assert plan.sums == KINDS[kind]
    merging = Merging(model, plan)
    for images in (IMAGES, F.pad(IMAGES, (0, 2, 1, 1)), IMAGES.to(memory_format=torch.channels_last)):
        expected = _parts(model(images.clone()))
        with merging.doing():
            merged = _parts(model(images.clone()))
        for one, other in zip(merged, expected, strict=True):
            torch.testing.assert_close(one, other)


class Sharpened(Net):
    """Looks at the gradient of its own input."""

    def middle(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad((self.left(x) + self.right(x)).square().sum(), x)
        return self.left(gradient)


CALLED = [kind for kind in KINDS if kind not in {Returned, OntoAView, EndsInAConvolution, Strided}]


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(kind, "stem") for kind in KINDS if kind not in {OtherChangesBetween, EndsInAConvolution}]
    + [(kind, "left") for kind in CALLED if kind is not Unbatched]
    + [(InPlace, Layer("add", function=True)), (InPlace, Layer("relu", 2, function=True)), (Returned, "left")]
    + [(ByOperator, Layer("add", function=True)), (TwoConvolutions, "right")],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_pass_that_is_cut_stays(kind, layer):
    plain = PreparedModel(kind(), IMAGES, layer, channels_last=True)
    merged = PreparedModel(kind(), IMAGES, layer, channels_last=True, fold=True)
    assert merged._plan is not None
    classes = torch.arange(3)
    for _ in range(2):
        expected, cut = plain.cut(plain.images(IMAGES)), merged.cut(merged.images(IMAGES))
        torch.testing.assert_close(cut.activations, expected.activations)
        torch.testing.assert_close(cut.logits, expected.logits)
        assert cut.logits.requires_grad
        torch.testing.assert_close(cut.gradients(classes), expected.gradients(classes))
    assert merged._merging[torch.float32].nbytes > 0
    torch.testing.assert_close(merged.scores(IMAGES), plain.scores(IMAGES))


class OfContrast(InPlace):
    """Evens out contrast, and so makes NaN of an image that has none."""

    def forward(self, x):
        return super().forward((x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True))


def test_nan_of_a_single_image_stays_its_own():
    images = IMAGES.clone()
    images[1] = 0.25
    prepared = PreparedModel(OfContrast(), IMAGES, "left", channels_last=True, fold=True)
    assert prepared._plan is not None
    for _ in range(2):
        for scores in (prepared.scores(images), prepared.cut(prepared.images(images)).logits):
            assert scores.isnan().all(dim=1).tolist() == [False, True, False]
        assert not prepared._merging[torch.float32]._convolutions
    assert prepared.scores(IMAGES).isfinite().all()
    assert prepared._merging[torch.float32]._convolutions


def test_what_is_differentiated_within_a_pass_is_not_merged():
    model = Sharpened().to(memory_format=torch.channels_last)
    plan = mergeable(model, IMAGES[:1])
    assert plan is not None
    images = IMAGES.to(memory_format=torch.channels_last)
    merging = Merging(model, plan)
    expected = model(images)
    with merging.doing():
        torch.testing.assert_close(model(images), expected)
    with merging.before_graph():
        torch.testing.assert_close(model(images), expected)
    assert merging.nbytes == model.stem.weight.nbytes + model.left.weight.nbytes


def test_nothing_is_merged_once_a_graph_begins():
    model = InPlace().to(memory_format=torch.channels_last)
    merging = Merging(model, Plan({}))
    images = IMAGES.to(memory_format=torch.channels_last)
    expected = model.left(images.repeat(1, 6, 1, 1)[:, :16])
    with merging.before_graph() as stop:
        waiting = model.left(images.repeat(1, 6, 1, 1)[:, :16])
        stop()
        torch.testing.assert_close(waiting, expected)
        packed = merging.nbytes
        start = images.clone().requires_grad_()
        model(start).sum().backward()
    assert start.grad is not None
    assert merging.nbytes == packed
    with merging.doing():
        model(images)
    assert merging.nbytes > packed


@pytest.mark.parametrize(("name", "merges"), [("resnet18", True), ("shufflenet_v2_x0_5", False)])
def test_networks_with_little_to_do_are_left_alone(monkeypatch, network, name, merges):
    monkeypatch.setattr(module_of_merging, "_LEAST", LEAST)
    assert (mergeable(network(name), torch.rand(1, 3, 224, 224)) is not None) == merges


def test_a_sum_is_written_where_nobody_reads_any_more():
    model = InPlace().to(memory_format=torch.channels_last)
    seen = []
    model.middle = lambda x: seen.append(x) or InPlace.middle(model, x)
    merging = Merging(model, Plan({"left.weight": Sum(overwrites=True)}))
    with merging.doing():
        model(IMAGES.to(memory_format=torch.channels_last))
    expected = model(IMAGES)
    torch.testing.assert_close(model.head(seen[0].mean((2, 3))), expected)


def test_weights_are_packed_once():
    model = InPlace().to(memory_format=torch.channels_last)
    merging = Merging(model, Plan({}))
    assert merging.nbytes == 0
    for _ in range(2):
        with merging.doing():
            model(IMAGES)
    assert merging.nbytes == model.left.weight.nbytes  # the first convolution got images of another layout
    with merging.doing():
        model(IMAGES.to(memory_format=torch.channels_last))
    assert merging.nbytes == model.left.weight.nbytes + model.stem.weight.nbytes


def test_after_an_error_nothing_waits():
    model = Net().to(memory_format=torch.channels_last)
    merging = Merging(model, Plan({}))

    def fail(_x):
        raise ZeroDivisionError

    model.head.forward = fail
    model.middle = lambda x: model.head(model.left(x))
    with pytest.raises(ZeroDivisionError), merging.doing():
        model(IMAGES.to(memory_format=torch.channels_last))
    assert merging._waiting is None
    assert not torch.overrides._get_current_function_mode_stack()


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_networks_that_cannot_be_merged_are_left_alone():
    hooked = InPlace()
    hooked.left.register_forward_hook(lambda *_: None)
    assert mergeable(hooked, IMAGES[:1]) is None
    unfit = InPlace()
    unfit.left.weight[0] = torch.nan
    assert mergeable(unfit, IMAGES[:1]) is None
    hidden = Net().to(memory_format=torch.channels_last)
    hidden.head = torch.jit.trace(
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16 * 81, 5)), torch.rand(1, 16, 9, 9)
    )
    hidden.forward = lambda x: hidden.head(hidden.stem(x))
    assert mergeable(hidden, IMAGES[:1].to(memory_format=torch.channels_last)) is None


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_prepared_model_merges_and_explains_as_before(dtype):
    model = InPlace()
    plain = PreparedModel(model, IMAGES, "left", channels_last=True)
    merged = PreparedModel(model, IMAGES, "left", channels_last=True, fold=True)
    assert merged._plan == Plan(KINDS[InPlace], first="stem.weight")
    before = merged.nbytes
    images = plain.images(IMAGES)
    tolerance = {} if dtype is None else {"rtol": 0.05, "atol": 0.02}
    torch.testing.assert_close(merged.scores(images, dtype), plain.scores(images), **tolerance)
    assert merged.nbytes > before
    torch.testing.assert_close(merged.cut(images).activations, plain.cut(images).activations)
    assert merged._merging
    assert not plain._merging
