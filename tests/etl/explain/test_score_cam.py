"""Score-CAM against the printed algorithm; its masks, its previews and its approximations."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch
from torch import nn

from etl.explain import Context, PreparedModel, explain
from etl.explain.score_cam import ScoreCAM, _by_variance, _distinct, _stretched
from etl.models import resolve
from tests.etl.explain.equations import NETWORKS, finish


def _algorithm_1(by_hand, model, trunk, image, target, weight):
    """Score-CAM as printed: every channel that has a mask is scored."""
    with torch.no_grad():
        a = trunk(image[None])[0].double().numpy()
        live = [k for k in range(len(a)) if a[k].max() > a[k].min()]
        masks = [by_hand.min_max(by_hand.bilinear(a[k], *image.shape[1:])) for k in live]
        logits = torch.cat([model((image * torch.from_numpy(mask).float())[None]) for mask in masks]).double()
        baseline = float(model(torch.zeros_like(image)[None])[0, target])
    if weight == "logit-softmax":
        scores = logits[:, target].numpy() - baseline
        alpha = np.exp(scores) / np.exp(scores).sum()
    else:
        alpha = logits.softmax(dim=1)[:, target].numpy()
    heatmap = np.zeros(a.shape[1:])
    for i, k in enumerate(live):
        heatmap += alpha[i] * a[k]
    return np.maximum(heatmap, 0)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        *((name, "logit-softmax") for name in NETWORKS),
        ("demo:alexnet", "probability"),
        ("demo:resnet18", "probability"),
    ],
)
def test_score_cam_equals_algorithm_1(network, images, by_hand, name, weight):
    model, image = network(name), images[:1, :, :48, :48]
    trunk, _ = by_hand.cut(name, model)
    heatmap = explain(model, image, torch.tensor([5]), ScoreCAM(), weight=weight)[0]
    expected = _algorithm_1(by_hand, model, trunk, image[0], 5, weight)
    np.testing.assert_allclose(heatmap.numpy(), finish(by_hand, expected, image[0]), atol=1e-4)


def test_score_cam_merges_equal_masks_and_skips_constant_channels():
    class Channels(nn.Module):
        """Channels 0, 1 and 2 have one mask, channel 3 another, channel 4 is constant."""

        def __init__(self):
            super().__init__()
            self.act, self.fc = nn.Identity(), nn.Linear(5, 3)
            self.maps = nn.ReLU()

        def forward(self, x):
            red, green = x[:, :1, ::4, ::4], x[:, 1:2, ::4, ::4]
            a = self.maps(torch.cat([red, 2 * red, 4 * red, green, torch.full_like(red, 0.5)], dim=1))
            return self.fc(a.mean((2, 3)))

    torch.manual_seed(0)
    model, x = Channels().eval(), torch.rand(1, 3, 16, 16)
    prepared, method = PreparedModel(model, x), ScoreCAM()
    assert prepared.layer.name == "maps"
    before = prepared.forwards
    with prepared.session():
        method.attribute(prepared, prepared.images(x), torch.tensor([1]), method.Parameters(), Context())
    assert prepared.forwards - before == 1 + 2


def test_score_cam_with_fewer_channels_says_that_it_approximates(network, images):
    model, method = network("demo:resnet18"), ScoreCAM()
    prepared = PreparedModel(model, images)
    with prepared.session():
        exact = method.attribute(prepared, prepared.images(images), None, method.Parameters(), Context())
        before = prepared.forwards
        fast = method.attribute(prepared, prepared.images(images), None, method.Parameters(channels=16), Context())
    assert prepared.forwards - before <= 2 * 17
    assert exact.flags == ((), ())
    assert all("approximation" in flags[0] for flags in fast.flags)
    for one, other in zip(exact.maps, fast.maps, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.8


def test_score_cam_shows_previews_that_become_the_map(network, images):
    model, method = network("resnet18"), ScoreCAM()
    prepared, seen = PreparedModel(model, images), []
    context = Context(chunk=16, progress=lambda fraction, maps: seen.append((fraction, maps)))
    with prepared.session():
        result = method.attribute(prepared, prepared.images(images), None, method.Parameters(), context)
    previews = [(fraction, maps) for fraction, maps in seen if maps is not None]
    assert [maps is None for fraction, maps in seen][:8] == [True] * 8  # the first 128 masks are not worth showing
    assert 5 < len(previews) < len(seen)
    assert all(maps.shape == result.maps.shape for _, maps in previews)
    # While the first image is explained the second has no map, and afterwards the first has its own.
    first = [maps for fraction, maps in previews if fraction < 0.5]
    second = [maps for fraction, maps in previews if fraction >= 0.5]
    assert all(torch.isnan(maps[1]).all() and not torch.isnan(maps[0]).any() for maps in first)
    assert all(torch.equal(maps[0], result.maps[0]) for maps in second)


@pytest.mark.slow
def test_previews_of_a_trained_network_are_good():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the pretrained models are the extra 'imagenet'")
    loaded = resolve("efficientnet-lite:lite0").load()
    photo = loaded.preprocess.pixels(PIL.Image.fromarray(skimage.data.chelsea()))
    image = loaded.preprocess.batch(photo[None])
    model, method, previews = PreparedModel(loaded.module, image, fold=True, channels_last=True), ScoreCAM(), []

    def progress(_fraction, maps):
        if maps is not None:
            previews.append((model.forwards, maps[0]))

    with model.session():
        assert model.layer
        before = model.forwards
        exact = method.attribute(
            model, model.images(image), None, method.Parameters(), Context(chunk=8, progress=progress)
        )
    r = [_r(preview, exact.maps[0]) for _, preview in previews]
    assert previews[0][0] - before == 1 + 128
    assert r[0] >= 0.985
    assert r[-1] >= 0.9999


def _r(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_score_cam_scores_by_variance_and_each_mask_once():
    maps = torch.tensor([[0.0, 1.0], [0.0, 8.0], [3.0, 3.0], [4.0, 0.0], [0.0, 2.0]]).reshape(5, 1, 2)
    order = _by_variance(maps)
    assert order.tolist() == [1, 3, 4, 0]  # the constant one is left out
    masks, mask_of = _distinct(_stretched(maps[order]))
    assert masks.flatten(1).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert mask_of.tolist() == [0, 1, 0, 0]


def test_score_cam_in_bfloat16_says_that_it_approximates(network, images):
    model, method = network("demo:alexnet"), ScoreCAM()
    prepared = PreparedModel(model, images)
    with prepared.session():
        exact = method.attribute(prepared, prepared.images(images), None, method.Parameters(), Context())
        weights = prepared.nbytes
        fast = method.attribute(
            prepared, prepared.images(images), None, method.Parameters(precision="bfloat16"), Context()
        )
    assert fast.flags == (("approximation: bfloat16",),) * 2
    assert prepared.nbytes == pytest.approx(1.5 * weights, rel=0.01)  # a copy in half the size
    assert not torch.equal(exact.maps, fast.maps)
    torch.testing.assert_close(exact.logits, fast.logits)
    assert all(_r(one, other) > 0.95 for one, other in zip(exact.maps, fast.maps, strict=True))
