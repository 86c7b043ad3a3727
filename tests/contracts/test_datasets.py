"""What every data set provider promises, built in or not; see ``etl.datasets.DatasetProvider``."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from etl.classes import ClassTable
from etl.datasets import Dataset, DatasetProvider, OpenOptions, open_dataset
from etl.images import read_image
from etl.plugins import DATASETS, load, plugins
from warehouse.errors import UserError

NAMES = sorted(plugins(DATASETS))


@pytest.fixture(params=NAMES)
def provider(request) -> DatasetProvider:
    return load(DATASETS, request.param)()


@pytest.fixture
def argument(provider, tmp_path) -> str:
    if provider.name == "demo":
        pytest.importorskip("fontawesomefree")
        return f"{tmp_path / 'demo'}?images_per_class=1"
    if provider.name == "imagenet-val":
        return _imagenet_val(tmp_path)
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for k in range(2):
            Image.new("RGB", (8 + k, 8)).save(tmp_path / name / f"{k}.png")
    return str(tmp_path)


def _imagenet_val(folder) -> str:
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O")]
    synsets = np.array([(1, "n02119789"), (2, "n01440764")], dtype=kind)
    savemat(data / "meta.mat", {"synsets": synsets})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n1\n")
    for k in range(3):
        Image.new("RGB", (8 + k, 8)).save(folder / f"ILSVRC2012_val_{k + 1:08d}.JPEG")
    return str(folder)


def test_describes_itself(provider):
    assert isinstance(provider, DatasetProvider)
    assert provider.name in NAMES
    assert len(provider.description) > 20


def test_lists_readable_images_of_known_classes(provider, argument):
    dataset = open_dataset(f"{provider.name}:{argument}")
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset.classes, ClassTable)
    images = list(dataset.images())
    paths = [image.path for image in images]
    assert len(paths) == len(set(paths)) > 0
    assert images == list(dataset.images())
    assert dataset.root.is_absolute()
    for image in images[:5]:
        assert 0 <= image.class_id < len(dataset.classes)
        assert not image.path.startswith("/")
        assert read_image(dataset.root / image.path).width > 0


def test_objects_are_where_they_say(provider, argument):
    dataset = provider.open(argument, OpenOptions())
    objects = dataset.objects()
    if objects is None:
        return
    assert objects.column_names == ["path", "left", "top", "right", "bottom", "mask"]
    known = {image.path for image in dataset.images()}
    rows = objects.to_pylist()
    assert {row["path"] for row in rows} <= known
    for row in rows[:5]:
        image = read_image(dataset.root / row["path"])
        mask = np.asarray(Image.open(io.BytesIO(row["mask"])))
        assert mask.shape == (image.height, image.width)
        ys, xs = np.nonzero(mask)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == tuple(
            row[k] for k in ("left", "top", "right", "bottom")
        )


def test_opens_the_same_again(provider, argument):
    first, second = (provider.open(argument, OpenOptions()) for _ in range(2))
    assert list(first.images()) == list(second.images())
    assert first.classes == second.classes


def test_a_given_class_table_is_used_or_refused(provider, argument):
    table = provider.open(argument, OpenOptions()).classes
    assert provider.open(argument, OpenOptions(classes=table)).classes == table
    with pytest.raises(UserError):
        provider.open(argument, OpenOptions(classes=ClassTable(("zebra",), ("all",), (None,))))


def test_what_does_not_exist_is_a_clear_error(provider):
    with pytest.raises(UserError):
        provider.open("/proc/no/such/folder?images_per_class=0", OpenOptions())
