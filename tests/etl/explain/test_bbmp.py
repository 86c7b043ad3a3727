"""BBMP has no maintained peer: its pieces are compared with their definitions, its results with what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from etl.demo.dataset import arrays
from etl.explain import Context, PreparedModel, explain
from etl.explain.bbmp import BBMP, BBMPParameters, _blurred, _disk, _enlargement, _radii, _Search, _shifted
from etl.models import resolve
from warehouse.errors import UserError

SIDE = 56
SQUARE = (slice(8, 24), slice(32, 48))  # where the stripes are


class StripeDetector(nn.Module):
    """Class 1 if anywhere is a patch of fine stripes, which blurring takes away."""

    def forward(self, x):
        edges = x[:, 0].diff(dim=2).abs()
        stripes = F.avg_pool2d(edges[:, None], 12, stride=2).flatten(1).amax(dim=1)
        return torch.stack([3 - 6 * stripes, 6 * stripes - 3], dim=1)


@pytest.fixture
def images():
    x = 0.1 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for image, (rows, columns) in zip(x, (SQUARE, SQUARE[::-1]), strict=True):
        image[0, rows, columns] = torch.arange(16) % 2.0
    return x


@pytest.fixture
def search(images):
    prepared = PreparedModel(StripeDetector(), images)
    with prepared.session():
        yield _Search(prepared, prepared.images(images), torch.tensor([1, 1]), prepared.scores(images))


def test_finds_what_the_model_looks_at(images):
    maps = explain(StripeDetector(), images, torch.tensor([1, 1]), BBMP(), iterations=60)
    for heatmap, (rows, columns) in zip(maps, (SQUARE, SQUARE[::-1]), strict=True):
        inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        inside[rows, columns] = True
        assert inside[np.unravel_index(int(heatmap.argmax()), heatmap.shape)]
        assert heatmap[inside].mean() > 3 * heatmap[~inside].mean()


def test_the_objective_falls_and_deleting_the_region_takes_the_class_away(search):
    parameters = BBMPParameters(iterations=60)
    before = search.objective(search.initial(), parameters)
    mask = search.run(parameters, Context(), 0.0, 1.0)
    after = search.objective(mask, parameters)
    assert (after < 0.9 * before).all()
    assert (search._probability(mask) < 0.5 * search._original).all()


def test_the_mask_depends_on_the_seed_only(images):
    model = StripeDetector()
    run = [
        explain(model, images, torch.tensor([1, 1]), BBMP(), iterations=10, seed=seed, jitter=16) for seed in (0, 0, 1)
    ]
    torch.testing.assert_close(run[0], run[1], rtol=0, atol=0)
    assert not torch.allclose(run[0], run[2], atol=1e-3)


def test_a_batch_equals_single_images(images):
    model, targets = StripeDetector(), torch.tensor([1, 1])
    singles = [explain(model, images[i : i + 1], targets[:1], BBMP(), iterations=10)[0] for i in range(2)]
    torch.testing.assert_close(
        explain(model, images, targets, BBMP(), iterations=10), torch.stack(singles), rtol=0, atol=1e-4
    )


def test_the_objective_is_the_printed_one(search):
    mask = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    found = search.objective(mask, BBMPParameters(l1=0.01, tv=0.02, tv_power=3.0))
    for b in range(2):
        m = mask[b, 0].double().numpy()
        area = rough = 0.0
        for i in range(28):
            for j in range(28):
                area += abs(1 - m[i, j])
                down = m[i + 1, j] - m[i, j] if i < 27 else 0.0
                right = m[i, j + 1] - m[i, j] if j < 27 else 0.0
                rough += math.hypot(down, right) ** 3
        assert float(found[b] - search._probability(mask)[b]) == pytest.approx(0.01 * area + 0.02 * rough, rel=1e-4)


def test_the_mask_is_enlarged_to_blocks_and_blurred():
    sigma, size = 1.5, 56
    mask = torch.rand(28, 28, generator=torch.Generator().manual_seed(0)).double().numpy()
    blocks = mask.repeat(2, axis=0).repeat(2, axis=1)
    padded = np.pad(blocks, 6, mode="edge")
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / sigma) ** 2)
    kernel /= kernel.sum()
    expected = np.zeros((size, size))
    for dy in range(13):
        for dx in range(13):
            expected += kernel[dy] * kernel[dx] * padded[dy : dy + size, dx : dx + size]
    matrix = _enlargement(size, sigma).double().numpy()
    np.testing.assert_allclose(matrix @ mask @ matrix.T, expected, atol=1e-5)
    image = torch.from_numpy(blocks).float()[None, None]
    np.testing.assert_allclose(_blurred(image, sigma)[0, 0].numpy(), expected, atol=1e-5)


def test_disks_grow_from_nothing_to_everything():
    areas = [int((_disk(radius) == 0).sum()) for radius in _radii()]
    assert areas[0] == 0
    assert areas == sorted(areas)
    assert areas[-1] == 28 * 28


def test_the_first_disk_that_empties_the_class_is_where_it_begins(search, images):
    begin = search.initial()
    nothing = search._probability(torch.zeros_like(begin))
    left = (search._probability(begin) - nothing) / (search._original - nothing)
    assert (left < 0.01).all()
    smaller = [_disk(r) for r in _radii() if int((_disk(r) == 0).sum()) < int((begin[0] == 0).sum())][-1]
    again = search._probability(smaller.expand(2, 1, 28, 28))
    assert float((again - nothing)[0] / (search._original - nothing)[0]) >= 0.01


def test_all_disks_in_a_pass_or_two_say_the_same(search):
    """What a GPU does; the device makes no difference to the arithmetic."""
    begin = search.initial()
    disks = torch.stack([_disk(radius) for radius in _radii()])[:, None]
    with torch.no_grad():
        nothing = search._probability(torch.zeros_like(begin))
        enough = nothing + 0.01 * (search._original - nothing)
        for context in (Context(), Context(chunk=20), Context(chunk=1)):
            found = [search._first(i, disks, enough[i], context) for i in range(len(begin))]
            assert torch.equal(torch.cat(found), begin)
        assert not search._first(0, disks, enough[0] * 0 - 1, Context()).any()


def test_shifts_move_the_image_and_repeat_the_edge():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    torch.testing.assert_close(_shifted(x, (1, -1))[0, 0], torch.tensor([[1.0, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]))
    assert _shifted(x, (0, 0)) is x


def test_needs_no_layer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    maps = explain(model, torch.rand(1, 3, 16, 16), torch.tensor([2]), BBMP(), iterations=3)
    assert maps.shape == (1, 16, 16)


@pytest.mark.parametrize(
    "wrong",
    [{"iterations": 0}, {"jitter": -1}, {"l1": -1.0}, {"tv": math.nan}, {"learning_rate": 0}, {"tv_power": 1.5}],
)
def test_parameters_out_of_range_are_refused(images, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        explain(StripeDetector(), images, method=BBMP(), **wrong)


def test_the_search_ends_when_it_has_come_to_rest(images):
    class Counting(StripeDetector):
        passes = 0

        def forward(self, x):
            Counting.passes += len(x)
            return super().forward(x)

    model, targets = Counting(), torch.tensor([1, 1])
    maps, counts = [], []
    for early_stop in (True, False):
        Counting.passes = 0
        maps.append(explain(model, images, targets, BBMP(), early_stop=early_stop))
        counts.append(Counting.passes)
    assert counts[0] < 0.6 * counts[1]
    assert counts[1] >= 2 * 300
    prepared = PreparedModel(model, images)
    with prepared.session():
        batch = prepared.images(images)
        scores = prepared.scores(batch)
        method = BBMP()
        found = [
            method.attribute(prepared, batch, targets, BBMPParameters(early_stop=early), Context()).maps[:, None]
            for early in (True, False)
        ]
        search = _Search(prepared, batch, targets, scores)
        stopped, full = (search.objective(1 - found_maps, BBMPParameters()) for found_maps in found)
    assert (stopped <= 1.1 * full).all()


def test_images_come_to_rest_each_in_its_own_time(images):
    """A batch in which one image rests early gives the masks that the images have alone."""
    blank = torch.full_like(images[:1], 0.05)  # nothing to find: at rest at once
    batch, targets = torch.cat([blank, images]), torch.tensor([1, 1, 1])
    together = _masks(batch, targets)
    for i in range(3):
        torch.testing.assert_close(together[i], _masks(batch[i : i + 1], targets[:1])[0], rtol=0, atol=1e-4)


def _masks(batch, targets):
    prepared, method = PreparedModel(StripeDetector(), batch), BBMP()
    with prepared.session():
        parameters = BBMPParameters(iterations=60)
        return method.attribute(prepared, prepared.images(batch), targets, parameters, Context()).maps


@pytest.mark.slow
def test_deleting_the_region_halves_the_probability_on_demo_images():
    pytest.importorskip("fontawesomefree", reason="the demo's images are drawn with the extra 'demo'")
    loaded = resolve("demo:resnet18").load()
    pixels, labels = arrays("test", 2)
    images = loaded.preprocess.batch(torch.from_numpy(pixels[:100].copy()).permute(0, 3, 1, 2))
    model = PreparedModel(loaded.module, images, fold=True, channels_last=True)
    method, halved = BBMP(), 0
    with model.session():
        images = model.images(images)
        targets = torch.from_numpy(labels[:100].copy())
        found = method.attribute(model, images, targets, BBMPParameters(), Context())
        search = _Search(model, images, targets, found.logits)
        start = search.objective(search.initial(), BBMPParameters())
        mask = 1 - found.maps[:, None]
        assert (search.objective(mask, BBMPParameters()) < start).float().mean() >= 0.95
        halved = int((search._probability(mask) <= 0.5 * search._original).sum())
    assert halved >= 90
    # Not by deleting everything.
    assert float(found.maps.mean()) < 0.5
