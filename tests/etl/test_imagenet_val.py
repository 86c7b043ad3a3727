"""ImageNet's validation archives, made up in their layout, read as torchvision reads them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets.imagenet as peer
from PIL import Image
from scipy.io import savemat

from etl.classes import ClassTable, ClassTableError, imagenet
from etl.datasets import DatasetError, OpenOptions, open_dataset

IMAGES = 12


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _bytes_of(write, *arguments, **options) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *arguments, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """Both archives; the ILSVRC ids are in no order, and synsets with children follow, as in the real ones."""
    folder = tmp_path_factory.mktemp("archives")
    rng = np.random.default_rng(5)
    table = imagenet()
    ids = rng.permutation(1000) + 1
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    synsets = np.array(
        [(int(i), wnid, name, "", 0) for i, wnid, name in zip(ids, table.wnids, table.names, strict=True)]
        + [(1001, "n00001740", "entity", "", 3)],
        dtype=kind,
    )
    synsets = synsets[np.argsort([row["ILSVRC2012_ID"] for row in synsets])]
    truth = rng.integers(1, 1001, IMAGES)
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        base = "ILSVRC2012_devkit_t12/data/"
        _add(archive, base + "meta.mat", _bytes_of(savemat, {"synsets": synsets}))
        text = "".join(f"{i}\n" for i in truth)
        _add(archive, base + "ILSVRC2012_validation_ground_truth.txt", text.encode())
    with tarfile.open(folder / "ILSVRC2012_img_val.tar", "w") as archive:
        for k in range(IMAGES):
            image = Image.new("RGB", (20, 16), tuple(map(int, rng.integers(0, 256, 3))))
            _add(archive, f"ILSVRC2012_val_{k + 1:08d}.JPEG", _bytes_of(image.save, "jpeg"))
    return folder


@pytest.fixture
def unpacked(archives, tmp_path) -> Path:
    """The folder `val` after the commands of docs/own.md."""
    (tmp_path / "val").mkdir()
    for command in (
        ["tar", "-xf", archives / "ILSVRC2012_img_val.tar", "-C", "val"],
        ["tar", "-xzf", archives / "ILSVRC2012_devkit_t12.tar.gz"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path / "val"


def _labels(folder: str) -> dict[str, int]:
    return {image.path: image.class_id for image in open_dataset(folder).images()}


def test_images_get_the_classes_that_torchvision_gives_them(archives, unpacked, tmp_path, monkeypatch):
    whole = peer.check_integrity
    monkeypatch.setattr(peer, "check_integrity", lambda path, md5=None: whole(path))  # these archives are made up
    for archive in archives.iterdir():
        (tmp_path / archive.name).symlink_to(archive)
    unpacked.rename(tmp_path / "flat")
    # torchvision sorts the images into folders named by WordNet id; with all images there are a thousand of them.
    sorted_in = [Path(path) for path, _ in peer.ImageNet(tmp_path, split="val").samples]
    expected = {path.name: imagenet().wnids.index(path.parent.name) for path in sorted_in}
    assert len(expected) == IMAGES
    assert _labels(f"imagenet-val:{tmp_path / 'flat'}") == expected


def test_the_development_kit_may_lie_elsewhere_and_some_images_will_do(unpacked, tmp_path):
    everything = _labels(f"imagenet-val:{unpacked}")
    kit = (tmp_path / "ILSVRC2012_devkit_t12").rename(tmp_path / "kit")
    (unpacked / "ILSVRC2012_val_00000001.JPEG").unlink()
    (unpacked / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"\?devkit=FOLDER"):
        open_dataset(f"imagenet-val:{unpacked}")
    some = _labels(f"imagenet-val:{unpacked}?devkit={kit}")
    assert some == {path: everything[path] for path in sorted(everything)[1:]}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("ILSVRC2012_validation_ground_truth.txt", "1\ntwo\n", "no list of class ids"),
        ("ILSVRC2012_validation_ground_truth.txt", "1\n2\n", "does not say what ILSVRC2012_val_00000003.JPEG shows"),
        ("ILSVRC2012_validation_ground_truth.txt", "1001\n" * IMAGES + "9999\n", "is none of the 1000 classes"),
        ("meta.mat", "no such format", "no list of ImageNet's classes"),
    ],
)
def test_a_broken_development_kit_is_a_clear_error(unpacked, tmp_path, file, content, message):
    (tmp_path / "ILSVRC2012_devkit_t12" / "data" / file).write_text(content)
    with pytest.raises((DatasetError, ClassTableError), match=message):
        open_dataset(f"imagenet-val:{unpacked}")


def test_what_is_no_archive_is_a_clear_error(tmp_path, unpacked):
    with pytest.raises(DatasetError, match="holds no ILSVRC2012_val"):
        open_dataset(f"imagenet-val:{tmp_path}")
    with pytest.raises(DatasetError, match=r"write imagenet-val:FOLDER\?devkit=FOLDER"):
        open_dataset(f"imagenet-val:{unpacked}?kit=here")
    few = OpenOptions(classes=ClassTable(("zebra",), ("animal",), ("n02391049",)))
    with pytest.raises(ClassTableError, match="none of the 1 classes"):
        open_dataset(f"imagenet-val:{unpacked}", few)
