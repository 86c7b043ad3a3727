"""Folders of class folders, however odd."""

from __future__ import annotations

import pytest

from etl.classes import ClassTableError, from_names, imagenet
from etl.datasets import DatasetError, OpenOptions, open_dataset


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def paths(dataset):
    return [image.path for image in dataset.images()]


def test_lists_images_sorted_with_their_classes(tmp_path):
    touch(
        tmp_path, "b/2.png", "b/1.JPG", "a/deep/er/3.webp", "a/notes.txt", "a/.hidden.png", ".cache/x.png", "readme.png"
    )
    dataset = open_dataset(tmp_path)
    assert [tuple(image) for image in dataset.images()] == [("a/deep/er/3.webp", 0), ("b/1.JPG", 1), ("b/2.png", 1)]
    assert dataset.classes == from_names(["a", "b"])
    assert dataset.root == tmp_path


def test_names_of_any_kind(tmp_path):
    names = ['it\'s "quoted"', "new\nline", "🦩", "<b>bold</b>", "  blanks  "]
    touch(tmp_path, *(f"{name}/{name}.png" for name in names))
    assert sorted(paths(open_dataset(tmp_path))) == sorted(f"{name}/{name}.png" for name in names)


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "images/a/1.png", "elsewhere/2.png")
    (tmp_path / "images" / "a" / "again").symlink_to(tmp_path / "images" / "a")
    (tmp_path / "images" / "b").symlink_to(tmp_path / "elsewhere")
    assert paths(open_dataset(tmp_path / "images")) == ["a/1.png", "b/2.png"]


def test_wordnet_folders_are_imagenet(tmp_path):
    touch(tmp_path, "n02007558/x.JPEG")
    dataset = open_dataset(tmp_path, OpenOptions(model_classes=lambda: pytest.fail("no model need be loaded")))
    assert dataset.classes == imagenet()
    assert [image.class_id for image in dataset.images()] == [130]


def test_a_models_class_names_serve_where_all_folders_match(tmp_path):
    touch(tmp_path, "dog/x.png", "cat/x.png")
    tables = [from_names(["dog", "bird"]), from_names(["dog", "bird", "cat"])]
    dataset = open_dataset(tmp_path, OpenOptions(model_classes=lambda: tables))
    assert dataset.classes == tables[1]
    assert [tuple(i) for i in dataset.images()] == [("cat/x.png", 2), ("dog/x.png", 0)]


def test_a_given_table_decides(tmp_path):
    touch(tmp_path, "dog/x.png", "cat/x.png")
    with pytest.raises(ClassTableError, match="'cat' matches no"):
        open_dataset(tmp_path, OpenOptions(classes=from_names(["dog"])))


@pytest.mark.parametrize(
    ("made", "message"),
    [([], "no class folders"), (["x.png"], "no class folders"), (["a/x.txt"], "1 folders but no image")],
)
def test_folders_without_images(tmp_path, made, message):
    touch(tmp_path, *made)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path)


def test_missing_folder_and_unknown_provider(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset("nosuch:thing")
    with pytest.raises(DatasetError, match="names no data set"):
        open_dataset("imagefolder:")


def test_a_colon_in_a_folder_name(tmp_path, monkeypatch):
    touch(tmp_path, "demo:x/a/1.png")
    monkeypatch.chdir(tmp_path)
    assert paths(open_dataset("demo:x")) == ["a/1.png"]
