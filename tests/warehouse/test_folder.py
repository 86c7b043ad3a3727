from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import warehouse
from warehouse import files
from warehouse.errors import UserError, WarehouseError
from warehouse.folder import Folder
from warehouse.publish import publish

if TYPE_CHECKING:
    from pathlib import Path


def test_the_folder_or_the_file_in_it(published: Folder) -> None:
    assert Folder.at(published.root).root == published.root
    assert Folder.at(published.root / "warehouse.duckdb").root == published.root
    assert Folder.at(str(published.root)).root == published.root


def test_relative_paths_stay_valid_after_chdir(
    published: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published.root.parent)
    folder = Folder.at(published.root.name)
    monkeypatch.chdir(tmp_path)
    assert folder.exists()


def test_folders_of_images_are_written_down_so_that_a_warehouse_can_be_moved(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "w")
    folder, beside = Folder(tmp_path / "link"), tmp_path / "w-images"
    for place in (tmp_path / "w" / "images" / "été", tmp_path / "link" / "images" / "été"):
        assert folder.named(place) == "images/été"
    assert folder.placed("images/été") == tmp_path / "link" / "images" / "été"
    assert folder.placed(folder.named(tmp_path / "w")).samefile(tmp_path / "w")
    assert folder.named(beside) == str(beside)
    assert folder.placed(str(beside)) == beside


def test_what_is_no_warehouse(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="There is no folder"):
        Folder.at(tmp_path / "missing")
    with pytest.raises(WarehouseError, match="is not a warehouse"):
        Folder.at(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(WarehouseError, match="is not a warehouse"):
        warehouse.open(tmp_path / "file")
    with pytest.raises(WarehouseError, match="Cannot make a warehouse"):
        Folder(tmp_path / "file").create()
    assert issubclass(WarehouseError, UserError)


def test_create_twice_and_not_over_a_foreign_database(tmp_path: Path) -> None:
    assert Folder(tmp_path / "w").create().create().exists()
    (tmp_path / "warehouse.duckdb").write_bytes(b"somebody else's")
    with pytest.raises(WarehouseError, match="belongs to no warehouse"):
        Folder(tmp_path).create()
    assert (tmp_path / "warehouse.duckdb").read_bytes() == b"somebody else's"


def test_not_published_yet(empty: Folder) -> None:
    assert empty.current_generation() is None
    with pytest.raises(WarehouseError, match="vacpanel publish"):
        warehouse.open(empty.root)


def test_a_copy_of_a_warehouse_works_elsewhere(own: Folder, published: Folder) -> None:
    with warehouse.open(own.root) as copy, warehouse.open(published.root) as original:
        assert (
            copy.sql("FROM predictions ORDER BY ALL").fetchall()
            == original.sql("FROM predictions ORDER BY ALL").fetchall()
        )
        assert str(copy.path.readlink()).startswith(".gen/")


def test_a_damaged_generation_is_named_and_published_anew(own: Folder) -> None:
    number = own.current_generation()
    assert number is not None
    own.generation_file(number).write_bytes(b"not a database" * 1000)
    with pytest.raises(WarehouseError, match="cannot be read"):
        warehouse.open(own.root)
    assert publish(own).changed
    with warehouse.open(own.root) as w:
        assert w.summary().models == 3


def test_a_missing_generation(own: Folder) -> None:
    number = own.current_generation()
    assert number is not None
    own.generation_file(number).unlink()
    with pytest.raises(WarehouseError, match="vacpanel publish"):
        warehouse.open(own.root)


def test_copy_of_a_file_with_and_without_help_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 5000)
    files.copy(tmp_path / "a", tmp_path / "b")

    def refuse(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("os.copy_file_range", refuse, raising=False)
    files.copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()
