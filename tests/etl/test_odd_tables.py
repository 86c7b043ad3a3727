"""Class tables and numbers of classes at the edges of what there is: hostile CSV files, 2 classes, 20,000 classes."""

from __future__ import annotations

import csv
import importlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import warehouse
from etl import run
from etl.class_csv import COLUMNS, read_class_csv
from etl.classes import ClassTable, ClassTableError, from_names, match_folders, match_outputs
from tests.etl.conftest import write_image

HEADER = ",".join(COLUMNS) + "\n"
MANY = 20_000

NETS = f"""
from tinynets import make

def two(): return make(4, 0, outputs=2, names=["no", "yes"])
def twelve(): return make(4, 0, outputs=12, names=None)
def many(): return make(4, 0, outputs={MANY}, names=None)
def unnamed(): return make(4, 0, outputs=2, names=None)
"""


def etl(folder, target, model, **options):
    return run(folder, [model], target, device="cpu", progress=False, **options)


def rows(target, query):
    with warehouse.open(target) as w:
        return w.sql(query).fetchall()


@pytest.fixture
def nets(factories, tmp_path):
    """The module ``sizednets``, importable while the test runs."""
    (tmp_path / "code" / "sizednets.py").write_text(NETS)
    yield importlib.import_module("sizednets")
    sys.modules.pop("sizednets", None)


# Files ----------------------------------------------------------------------------------------------------------------


def read_or_refuse(path):
    """The table, which must be whole, or None for an error of the kind that users are shown."""
    try:
        table = read_class_csv(path)
    except ClassTableError:
        return None
    assert len(table) == len(table.names) == len(table.roots) == len(table.wnids) > 0
    assert all(name.strip() for name in (*table.names, *table.roots))
    assert ClassTable.from_arrow(table.to_arrow()) == table
    return table


any_file = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@any_file
@given(content=st.binary(max_size=300), with_header=st.booleans())
def test_any_bytes_are_a_table_or_an_error(tmp_path, content, with_header):
    path = tmp_path / "classes.csv"
    path.write_bytes(HEADER.encode() * with_header + content)
    read_or_refuse(path)


cell = st.one_of(st.integers(-1, 6).map(str), st.sampled_from(["", "crane", "n02012849"]), st.text(max_size=6))


@any_file
@given(lines=st.lists(st.lists(cell, max_size=5), max_size=7))
def test_any_rows_are_a_table_or_an_error(tmp_path, lines):
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *lines])
    path = tmp_path / "classes.csv"
    path.write_bytes(text.getvalue().encode(errors="replace"))
    table = read_or_refuse(path)
    if table is not None:
        assert sorted(int(line[0]) for line in lines if line) == list(range(len(table)))


names = st.lists(st.sampled_from(["crane", "Crane", "crane_", "dog", "", "n02012849", "n03126707"]), max_size=5)


@settings(max_examples=300, deadline=None)
@given(classes=names, folders=names, outputs=names)
def test_any_names_match_one_to_one_or_not_at_all(classes, folders, outputs):
    table = from_names(classes)
    try:
        matched = match_folders(table, folders)
    except ClassTableError:
        pass
    else:
        assert matched.keys() == set(folders)
        assert len(set(matched.values())) == len(matched)
        assert all(0 <= class_id < len(table) for class_id in matched.values())
    try:
        order = match_outputs(table, len(outputs), outputs, None)
    except ClassTableError:
        return
    order = range(len(outputs)) if order is None else order
    assert len(order) == len(table)
    assert len(set(order)) == len(order)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0,,red,x\n0,,green,x\n1,,blue,x\n", "class_id 0 is there twice"),
        ("0,,red,x\n1,,green,x\n3,,blue,x\n", "no class_id 2"),
        ("0,,red,x\n1,,green,x\n2,,violet,x\n", "'blue' matches no wnid and no class_name"),
        ("0,,red,x\n1,,green,x\n2,,blue,x\n3,,blue,y\n", "'blue' belongs to class_id 2 and 3"),
        ("0,a,red,x\n1,b,green,x\n2,c,blue,x\n3,d,blue,y\n", "'blue' fits more than one class, c and d"),
    ],
)
def test_a_wrong_table_leaves_no_warehouse_behind(image_folder, factories, tmp_path, lines, message):
    (tmp_path / "classes.csv").write_text(HEADER + lines)
    with pytest.raises(ClassTableError, match=message):
        etl(image_folder, tmp_path / "w", "python:tinynets:small", classes=tmp_path / "classes.csv")
    assert not (tmp_path / "w").exists()


# Whole runs -----------------------------------------------------------------------------------------------------------


def test_two_classes_of_one_name_are_kept_apart(nets, tmp_path):
    """As ImageNet's bird and machine in lists that call both crane; their WordNet ids tell them apart."""
    (tmp_path / "classes.csv").write_text(HEADER + "0,n02012849,crane,bird\n1,n03126707,crane,machine\n")
    for seed, folder in enumerate(["n02012849", "n03126707", "n03126707"]):
        write_image(tmp_path / "images" / folder / f"{seed}.png", seed, 0)
    options = {"classes": tmp_path / "classes.csv"}
    report = etl(tmp_path / "images", tmp_path / "w", "python:sizednets:unnamed", **options)
    assert report.status == "finished"
    query = "SELECT class_id, class_name, root_class, images FROM class_accuracy ORDER BY class_id"
    assert rows(tmp_path / "w", query) == [(0, "crane", "bird", 1), (1, "crane", "machine", 2)]
    assert rows(tmp_path / "w", "SELECT count(*) FROM class_distances") == [(4,)]


def test_two_classes(nets, tmp_path):
    for seed, folder in enumerate(["yes", "no", "no"]):
        write_image(tmp_path / "images" / folder / f"{seed}.png", seed, 0)
    report = etl(tmp_path / "images", tmp_path / "w", "python:sizednets:two")
    assert report.computed == 3
    assert rows(tmp_path / "w", "SELECT top5, images FROM model_accuracy") == [(1.0, 3)]
    query = "SELECT true_rank, class_id_2, class_id_3, confidence + confidence_2 FROM predictions"
    for rank, second, third, total in rows(tmp_path / "w", query):
        assert rank in {1, 2}
        assert second in {0, 1}
        assert third is None
        assert total == pytest.approx(1)


def test_one_image_of_each_class(nets, tmp_path):
    for seed in range(12):
        write_image(tmp_path / "images" / f"class {seed:02d}" / "0.png", seed, seed % 3)
    report = etl(tmp_path / "images", tmp_path / "w", "python:sizednets:twelve")
    assert report.computed == 12
    for relation in ("class_layout", "image_layout"):
        points = np.array(rows(tmp_path / "w", f"SELECT x, y FROM {relation}"))
        assert points.shape == (12, 2)
        assert np.isfinite(points).all()
        assert len(np.unique(points, axis=0)) == 12
    assert {images for (images,) in rows(tmp_path / "w", "SELECT images FROM class_accuracy")} == {1}


MEASURED = """
import re, sys
from pathlib import Path
from etl import run
images, target, table = sys.argv[1:]
report = run(images, ["python:sizednets:many"], target, classes=table, device="cpu", progress=False)
assert report.status == "finished", report
# Not of resource.getrusage: that of a new process begins with the memory of the one that started it.
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to measure memory")
def test_many_classes_with_few_images_take_little_memory(nets, tmp_path):
    """All pairs of 20,000 classes are 3.2 GB; those that have images are few."""
    table = tmp_path / "classes.csv"
    table.write_text(HEADER + "".join(f"{i},,class {i},{'even' if i % 2 == 0 else 'odd'}\n" for i in range(MANY)))
    for seed in range(20):
        write_image(tmp_path / "images" / f"class {seed * 999}" / "0.png", seed, 0)
    command = [sys.executable, "-c", MEASURED, tmp_path / "images", tmp_path / "w", table]
    done = subprocess.run(command, cwd=tmp_path / "code", capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2500  # megabytes
    assert rows(tmp_path / "w", "SELECT count(*) FROM classes") == [(MANY,)]
    assert rows(tmp_path / "w", "SELECT count(*) FROM class_layout") == [(20,)]
    assert rows(tmp_path / "w", "SELECT count(*) FROM class_distances") == [(400,)]
    assert rows(tmp_path / "w", "SELECT root_class, images FROM root_accuracy ORDER BY 1") == [
        ("even", 10),
        ("odd", 10),
    ]
