"""Views that people saved by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from warehouse import saved
from warehouse.errors import UserError
from warehouse.folder import Folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "w").create()


@pytest.mark.parametrize("name", ["birds", "../../etc/passwd", "<b>wide</b>", "ü 鳥 🐦", "con\u202efusing"])
def test_a_saved_view_is_there_again_under_any_name(folder: Folder, name: str) -> None:
    saved.save_view(folder, name, "?model=a")
    assert saved.saved_views(folder) == {name: "?model=a"}
    assert sorted(p.parent.name for p in folder.root.rglob("*.json")) == ["views"]
    saved.save_view(folder, name, "?model=b")
    assert saved.saved_views(folder) == {name: "?model=b"}
    saved.delete_view(folder, name)
    assert saved.saved_views(folder) == {}
    saved.delete_view(folder, name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 61])
def test_names_that_are_none_are_refused(folder: Folder, name: str) -> None:
    with pytest.raises(UserError, match="name of 1 to 60"):
        saved.save_view(folder, name, "?")
    assert saved.saved_views(folder) == {}


def test_nobody_fills_the_disk(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "MOST", 2)
    for name in "abb":
        saved.save_view(folder, name, "?")
    with pytest.raises(UserError, match="delete one first"):
        saved.save_view(folder, "c", "?")
    with pytest.raises(UserError, match="too large"):
        saved.save_view(folder, "a", "?" * 40_000)


def test_foreign_files_are_left_out(folder: Folder) -> None:
    saved.save_view(folder, "mine", "?")
    for name, text in (("x.json", "{"), ("y.json", "[]"), ("z.json", '{"name": "n"}')):
        (folder.root / "views" / name).write_text(text)
    assert saved.saved_views(folder) == {"mine": "?"}
