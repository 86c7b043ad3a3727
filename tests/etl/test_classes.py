"""Class tables, and how folders and model outputs find their classes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from etl.class_csv import read_class_csv
from etl.classes import (
    ClassTable,
    ClassTableError,
    from_folders,
    from_names,
    imagenet,
    match_folders,
    match_outputs,
)

GOOD = "class_id,wnid,class_name,root_class\n1,n00000002,dog,animal\n0,,oak,plant\n"


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "classes.csv"
    path.write_bytes(text.encode(encoding))
    return read_class_csv(path)


def test_reads_a_table_in_any_order(tmp_path):
    table = read(tmp_path, GOOD)
    assert table == ClassTable(("oak", "dog"), ("plant", "animal"), (None, "n00000002"))
    assert ClassTable.from_arrow(table.to_arrow()) == table


def test_reads_windows_files_and_quotes(tmp_path):
    text = 'class_id,wnid,class_name,root_class\r\n0,,"jack-o\'-lantern, ""lit"" 🎃",thing\r\n'
    assert read(tmp_path, "\ufeff" + text).names == ('jack-o\'-lantern, "lit" 🎃',)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column class_id"),
        ("class_id,class_name\n0,a\n", "no column wnid, root_class"),
        ("class_id,wnid,class_name,root_class\n", "holds no class"),
        (GOOD + "1,,cat,animal\n", "class_id 1 is there twice, again in line 4"),
        (GOOD + "3,,cat,animal\n", "no class_id 2"),
        (GOOD + "x,,cat,animal\n", "whole number, not 'x', in line 4"),
        (GOOD + "-1,,cat,animal\n", "negative"),
        (GOOD + "2,,,animal\n", "class_name is empty in line 4"),
        (GOOD + "2,,cat,\n", "root_class is empty"),
        (GOOD + "2,n00000002,cat,animal\n", "n00000002 belongs to class_id 1 and 2"),
        (GOOD + "2,,oak,plant\n", "'oak' belongs to class_id 0 and 2"),
        (GOOD + "2,cat\n", "class_name is empty"),
    ],
)
def test_names_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ClassTableError, match=message):
        read(tmp_path, text)


def test_other_encodings_and_missing_files(tmp_path):
    with pytest.raises(ClassTableError, match="UTF-8"):
        read(tmp_path, GOOD.replace("oak", "chêne"), encoding="latin-1")
    with pytest.raises(ClassTableError, match="cannot be read"):
        read_class_csv(tmp_path / "nowhere.csv")


def test_imagenet_is_the_usual_table():
    table = imagenet()
    assert len(table) == 1000
    assert len(set(table.roots)) == 8
    assert all(a < b for a, b in pairwise(table.wnids))
    assert (table.names[0], table.wnids[0]) == ("tench", "n01440764")
    assert (table.wnids[130], table.wnids[999]) == ("n02007558", "n15075141")


CRANES = ClassTable(("crane", "crane", "Egyptian cat"), ("a",) * 3, ("n02012849", "n03126707", "n02124075"))


def test_folders_match_by_wnid_then_name():
    assert match_folders(CRANES, ["n03126707", "egyptian_CAT"]) == {"n03126707": 1, "egyptian_CAT": 2}


def test_an_ambiguous_name_is_an_error_that_names_both_wnids():
    with pytest.raises(ClassTableError, match="n02012849 and n03126707"):
        match_folders(CRANES, ["crane"])


def test_unknown_and_doubled_folders():
    with pytest.raises(ClassTableError, match="'dog' matches no"):
        match_folders(CRANES, ["dog"])
    with pytest.raises(ClassTableError, match="are both class 2"):
        match_folders(CRANES, ["Egyptian cat", "n02124075"])


def test_folder_names_become_classes():
    assert from_folders(["b", "a"]) == ClassTable(("a", "b"), ("all", "all"), (None, None))


ABC = from_names(["a", "b", "c"])


@pytest.mark.parametrize(
    ("table", "outputs", "names", "wnids", "expected"),
    [
        (ABC, 3, None, None, None),
        (ABC, 3, ["a", "b", "c"], None, None),
        (ABC, 3, ["A ", "b", "z"], None, None),  # another word, but no contradiction
        (ABC, 3, ["c", "a", "b"], None, (1, 2, 0)),
        (ABC, 5, ["c", "x", "b", "y", "a"], None, (4, 2, 0)),
        (CRANES, 3, ["crane", "crane", "cat"], None, None),  # names that are there twice contradict nothing
        (CRANES, 3, None, CRANES.wnids[::-1], (2, 1, 0)),
        (CRANES, 3, ["Egyptian cat", "crane", "crane"], CRANES.wnids, None),  # the ids decide
    ],
)
def test_outputs_find_their_classes(table, outputs, names, wnids, expected):
    assert match_outputs(table, outputs, names, wnids) == expected


@pytest.mark.parametrize(
    ("outputs", "names", "message"),
    [
        (4, None, "4 outputs of unknown names, the class table has 3"),
        (4, ["a", "b", "x", "y"], "1 of 3 classes are none of its 4 outputs by class_name: 'c'"),
        (3, ["b", "a", "x"], "by class_name: 'c'"),
        (3, ["x", "y", "z"], "3 of 3 classes are none of its 3 outputs by class_name: 'a', 'b', 'c'"),
        (4, ["a", "b", "c", "c"], "'c'"),
    ],
)
def test_outputs_that_do_not_match(outputs, names, message):
    with pytest.raises(ClassTableError, match=message):
        match_outputs(ABC, outputs, names, None)


def test_a_subset_of_imagenet_uses_its_outputs():
    part = ClassTable(("crane", "tench"), ("all",) * 2, ("n03126707", "n01440764"))
    assert match_outputs(part, 1000, None, imagenet().wnids) == (517, 0)
