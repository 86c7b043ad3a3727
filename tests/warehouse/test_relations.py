"""What SQL users are promised: names, types, comments, and numbers that an independent computation confirms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import polars as pl
import polars.testing
import pytest

import warehouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from conftest import Sample

    from warehouse.folder import Folder

# The public contract: relation -> column -> type. Relations may have more columns than these.
CONTRACT = {
    "models": {
        "model": "VARCHAR",
        "family": "VARCHAR",
        "source": "VARCHAR",
        "parameters": "BIGINT",
        "flops": "BIGINT",
        "input_size": "INTEGER",
        "latency_ms": "DOUBLE",
        "label": "VARCHAR",
        "precision": "VARCHAR",
    },
    "classes": {"class_id": "INTEGER", "wnid": "VARCHAR", "class_name": "VARCHAR", "root_class": "VARCHAR"},
    "images": {
        "image_id": "INTEGER",
        "path": "VARCHAR",
        "class_id": "INTEGER",
        "width": "INTEGER",
        "height": "INTEGER",
        "root": "VARCHAR",
        "sha256": "VARCHAR",
        "bytes": "BIGINT",
    },
    "skipped_images": {"path": "VARCHAR", "reason": "VARCHAR"},
    "predictions": {
        "model": "VARCHAR",
        "image_id": "INTEGER",
        "class_id": "INTEGER",
        "predicted_class_id": "INTEGER",
        "confidence": "FLOAT",
        "true_confidence": "FLOAT",
        "true_rank": "INTEGER",
        "correct": "BOOLEAN",
        "correct_top5": "BOOLEAN",
        **{f"class_id_{rank}": "INTEGER" for rank in range(2, 6)},
        **{f"confidence_{rank}": "FLOAT" for rank in range(2, 6)},
    },
    "model_accuracy": {"model": "VARCHAR", "images": "BIGINT", "top1": "DOUBLE", "top5": "DOUBLE"},
    "root_accuracy": {"model": "VARCHAR", "root_class": "VARCHAR", "images": "BIGINT", "top1": "DOUBLE"},
    "class_accuracy": {
        "model": "VARCHAR",
        "class_id": "INTEGER",
        "class_name": "VARCHAR",
        "root_class": "VARCHAR",
        "images": "BIGINT",
        "top1": "DOUBLE",
    },
    "class_spread": {
        "class_id": "INTEGER",
        "class_name": "VARCHAR",
        "root_class": "VARCHAR",
        "min_top1": "DOUBLE",
        "max_top1": "DOUBLE",
        "range_top1": "DOUBLE",
        "mean_top1": "DOUBLE",
    },
    "class_distances": {
        "model": "VARCHAR",
        "class_id": "INTEGER",
        "other_class_id": "INTEGER",
        "distance": "DOUBLE",
    },
    "class_layout": {"model": "VARCHAR", "class_id": "INTEGER", "x": "FLOAT", "y": "FLOAT"},
    "image_layout": {"model": "VARCHAR", "image_id": "INTEGER", "x": "FLOAT", "y": "FLOAT"},
    "explanations": {
        "model": "VARCHAR",
        "image_id": "INTEGER",
        "method": "VARCHAR",
        "target_class_id": "INTEGER",
        "parameters": "VARCHAR",
        "created_at": "TIMESTAMP",
        "roi_area": "DOUBLE",
        "entropy": "DOUBLE",
        "total_variation": "DOUBLE",
    },
    "runs": {
        "run_id": "VARCHAR",
        "started_at": "TIMESTAMP",
        "finished_at": "TIMESTAMP",
        "status": "VARCHAR",
        "command": "VARCHAR",
        "versions": "VARCHAR",
    },
    "confusion": {
        "model": "VARCHAR",
        "class_id": "INTEGER",
        "predicted_class_id": "INTEGER",
        "images": "BIGINT",
    },
    "class_confidences": {
        "model": "VARCHAR",
        "class_id": "INTEGER",
        "images": "BIGINT",
        "mean_confidence": "DOUBLE[]",
    },
    "image_objects": {
        "image_id": "INTEGER",
        "left": "INTEGER",
        "top": "INTEGER",
        "right": "INTEGER",
        "bottom": "INTEGER",
        "mask": "BLOB",
    },
    "dataset": {"images": "BIGINT", "models": "BIGINT", "generation": "INTEGER", "published_at": "TIMESTAMP"},
}


@pytest.fixture(scope="module")
def sql(published: Folder) -> duckdb.DuckDBPyConnection:
    """The file that people open, by a plain DuckDB connection."""
    with duckdb.connect(str(published.published), read_only=True) as connection:
        yield connection


@pytest.mark.parametrize("relation", CONTRACT)
def test_the_contract_is_kept(sql: duckdb.DuckDBPyConnection, relation: str) -> None:
    found = dict(
        sql.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = ?",
            [relation],
        ).fetchall()
    )
    assert found.items() >= CONTRACT[relation].items()


def test_nothing_is_without_a_comment(sql: duckdb.DuckDBPyConnection) -> None:
    relations = sql.execute(
        "SELECT schema_name || '.' || table_name, comment FROM duckdb_tables() WHERE NOT internal"
        " UNION ALL SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    columns = sql.execute(
        "SELECT schema_name || '.' || table_name || '.' || column_name, comment FROM duckdb_columns()"
        " WHERE NOT internal AND schema_name IN ('main', 'store')"
    ).fetchall()
    assert {name for name, _ in relations} >= {f"main.{relation}" for relation in CONTRACT}
    assert len(columns) > sum(map(len, CONTRACT.values()))
    assert [name for name, comment in relations + columns if not (comment and comment.strip().endswith("."))] == []


def test_the_relations_of_people_are_exactly_the_documented_ones(sql: duckdb.DuckDBPyConnection) -> None:
    found = sql.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'").fetchall()
    assert {name for (name,) in found} == set(CONTRACT)


def test_the_file_is_in_the_format_of_duckdb_1_0(published: Folder) -> None:
    number = published.current_generation()
    assert number is not None
    for path in (published.published, published.generation_file(number)):
        header = path.read_bytes()[:20]
        assert header[8:12] == b"DUCK"
        assert int.from_bytes(header[12:20], "little") == 64  # 64: DuckDB 0.9 to 1.1; 65: 1.2; 69: 2.0


def test_tables_hold_plain_types_only(sql: duckdb.DuckDBPyConnection) -> None:
    """DuckDB 1.0 fails on a stored column of lists that are all empty when 2.0 wrote it; views may make lists."""
    nested = sql.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() SEMI JOIN duckdb_tables()"
        " USING (schema_name, table_name) WHERE NOT internal AND regexp_matches(data_type, '[\\[(]')"
    ).fetchall()
    assert nested == []


# Numbers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(sample: Sample) -> pl.DataFrame:
    """One row per model and image, computed from the confidences alone."""
    frames = []
    for model in sample.models:
        p = sample.confidences[model][sample.seen]
        labels = sample.labels[sample.seen]
        true = p[np.arange(len(p)), labels]
        frames.append(
            pl.DataFrame(
                {
                    "model": [model] * len(p),
                    "image_id": sample.seen,
                    "class_id": labels,
                    "predicted_class_id": p.argmax(axis=1).astype(np.int32),
                    "confidence": p.max(axis=1),
                    "true_confidence": true,
                    "true_rank": (1 + (p > true[:, None]).sum(axis=1)).astype(np.int32),
                }
            )
        )
    names = pl.DataFrame(
        {
            "class_id": np.arange(sample.classes, dtype=np.int32),
            "class_name": sample.names,
            "root_class": sample.roots,
        }
    )
    return (
        pl.concat(frames)
        .join(names, on="class_id")
        .with_columns(correct=pl.col("predicted_class_id") == pl.col("class_id"), correct_top5=pl.col("true_rank") <= 5)
    )


def accuracy(expected: pl.DataFrame, *by: str) -> pl.DataFrame:
    return (
        expected.group_by(*by)
        .agg(images=pl.len().cast(pl.Int64), top1=pl.col("correct").mean(), top5=pl.col("correct_top5").mean())
        .sort(*by)
    )


def assert_equal(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    pl.testing.assert_frame_equal(
        found.select(expected.columns), expected, check_dtypes=False, rel_tol=1e-13, abs_tol=1e-13
    )


def test_predictions(sql: duckdb.DuckDBPyConnection, sample: Sample, expected: pl.DataFrame) -> None:
    found = sql.sql("FROM predictions ORDER BY model, image_id").pl()
    assert_equal(found, expected.drop("class_name", "root_class").sort("model", "image_id"))
    for model in sample.models:
        p = sample.confidences[model][sample.seen]
        rows = found.filter(model=model)
        for rank in range(2, 6):
            assert np.array_equal(rows[f"confidence_{rank}"].to_numpy(), np.sort(p, axis=1)[:, -rank])
            assert np.array_equal(
                p[np.arange(len(p)), rows[f"class_id_{rank}"].to_numpy()], np.sort(p, axis=1)[:, -rank]
            )


def test_accuracies(sql: duckdb.DuckDBPyConnection, expected: pl.DataFrame) -> None:
    for relation, by in (
        ("model_accuracy", ["model"]),
        ("root_accuracy", ["model", "root_class"]),
        ("class_accuracy", ["model", "class_id", "class_name", "root_class"]),
    ):
        found = sql.sql(f"FROM {relation} ORDER BY {', '.join(by)}").pl()
        assert_equal(found, accuracy(expected, *by))


def test_class_spread(sql: duckdb.DuckDBPyConnection, expected: pl.DataFrame) -> None:
    by = ["class_id", "class_name", "root_class"]
    spread = (
        accuracy(expected, "model", *by)
        .group_by(*by)
        .agg(
            models=pl.len().cast(pl.Int64),
            min_top1=pl.col("top1").min(),
            max_top1=pl.col("top1").max(),
            mean_top1=pl.col("top1").mean(),
        )
        .with_columns(range_top1=pl.col("max_top1") - pl.col("min_top1"))
        .sort("class_id")
    )
    assert spread["range_top1"].max() > 0.5
    assert_equal(sql.sql("FROM class_spread ORDER BY class_id").pl(), spread)


def test_confusion(sql: duckdb.DuckDBPyConnection, expected: pl.DataFrame) -> None:
    by = ["model", "class_id", "predicted_class_id"]
    counts = expected.group_by(*by).agg(images=pl.len().cast(pl.Int64)).sort(*by)
    assert_equal(sql.sql("FROM confusion ORDER BY ALL").pl(), counts)


def test_classes_without_images_have_no_accuracy(sql: duckdb.DuckDBPyConnection) -> None:
    for relation in ("class_accuracy", "class_spread", "class_distances", "class_confidences"):
        assert sql.execute(f"SELECT count(*) FROM {relation} WHERE class_id = 5").fetchone() == (0,)
    assert sql.execute("SELECT count(*) FROM class_distances WHERE other_class_id = 5").fetchone() == (0,)
    assert sql.execute("SELECT class_name FROM classes WHERE class_id = 5").fetchone() == ("class 5",)


def literal_distances(labels: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """Algorithm 1 of the paper, line by line, in double precision."""
    M, N = confidences.shape
    dist_mat = np.zeros((N, N))
    dist_mat_count = np.zeros((N, N))
    for img_idx in range(M):
        cur_class = labels[img_idx]
        P = confidences[img_idx, :]
        for comp_class in range(N):
            conf_score = float(P[comp_class])
            dist_mat_count[cur_class, comp_class] += 1
            if comp_class != cur_class:
                dist_mat[cur_class, comp_class] += 1 - conf_score
    with np.errstate(invalid="ignore"):
        dist_mat = np.divide(dist_mat, dist_mat_count)
    return (dist_mat + dist_mat.T) / 2


def test_class_distances_are_algorithm_1(sql: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    for model in sample.models:
        literal = literal_distances(sample.labels[sample.seen], sample.confidences[model][sample.seen])
        found = np.full_like(literal, np.nan)
        rows = sql.execute(
            "SELECT class_id, other_class_id, distance FROM class_distances WHERE model = ?", [model]
        ).fetchall()
        for class_id, other_class_id, distance in rows:
            found[class_id, other_class_id] = distance
        assert len(rows) == (sample.classes - 1) ** 2
        np.testing.assert_allclose(found, literal, rtol=0, atol=1e-12)
        assert np.array_equal(found, found.T, equal_nan=True)
        assert set(np.diag(found)[[0, 1, 2, 3, 4, 6]]) == {0.0}


def test_class_confidences(sql: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    for model, class_id, images, mean in sql.execute("FROM class_confidences").fetchall():
        of_class = sample.confidences[model][sample.seen][sample.labels[sample.seen] == class_id]
        assert images == len(of_class)
        np.testing.assert_allclose(mean, of_class.astype(np.float64).mean(axis=0), rtol=0, atol=1e-14)


def test_facts(sql: duckdb.DuckDBPyConnection, sample: Sample, published: Folder, moment: datetime) -> None:
    images = sql.execute("SELECT image_id, root, path, class_id, width, height, bytes, sha256 FROM images").fetchall()
    assert images == [
        (
            i,
            str(published.root.parent / "images"),
            f"c{sample.labels[i]}/été {i}.png",
            sample.labels[i],
            96 + i,
            80,
            1000 + i,
            f"{i:064x}",
        )
        for i in sample.seen.tolist()
    ]
    assert sql.execute("SELECT image_id, path, reason FROM skipped_images").fetchall() == [
        (3, "c0/été 3.png", "cannot identify image file")
    ]
    names = sql.execute("SELECT class_name, root_class FROM classes ORDER BY class_id").fetchall()
    assert names == list(zip(sample.names, sample.roots, strict=True))
    assert sql.execute("SELECT run_id, started_at, finished_at, status FROM runs").fetchall() == [
        ("run-1", moment, None, "running")
    ]
    assert sql.execute('SELECT "left", mask FROM image_objects WHERE image_id = 5').fetchall() == [(1, b"\x89PNG5")]
    assert sql.execute("SELECT model, label, flops, latency_ms FROM models ORDER BY model").fetchall() == [
        ("demo:net0", "net0", None, None),
        ("demo:net1", "net1", 2_000_000, 1.5),
        ("demo:net2", "net2", 2_000_000, 1.5),
    ]


def test_layouts(sql: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    for model in sample.models:
        rows = sql.execute("SELECT x, y FROM class_layout WHERE model = ? ORDER BY class_id", [model]).fetchall()
        assert np.array_equal(np.array(rows, np.float32), sample.layouts[model])
        rows = sql.execute("SELECT x, y FROM image_layout WHERE model = ? ORDER BY image_id", [model]).fetchall()
        assert np.array_equal(np.array(rows, np.float32), sample.image_layouts[model][sample.seen])


@pytest.mark.parametrize("classes", [2, 4])
def test_fewer_than_five_classes(build: Callable[[Sample], Folder], make_sample: type[Sample], classes: int) -> None:
    sample = make_sample(classes=classes, images_per_class=4)
    with warehouse.open(build(sample).root) as w:
        row = w.sql("SELECT DISTINCT class_id_5, confidence_5, correct_top5 FROM predictions").fetchall()
        assert row == [(None, None, True)]
        pairs = w.sql("SELECT count(*) FROM class_distances WHERE model = 'demo:net0'").fetchall()
        assert pairs == [(classes**2,)]


def test_one_class_with_images(build: Callable[[Sample], Folder], make_sample: type[Sample]) -> None:
    sample = make_sample(classes=2, images_per_class=4)
    sample.labels[:] = 1
    with warehouse.open(build(sample).root) as w:
        distances = w.sql("SELECT class_id, other_class_id, distance FROM class_distances").fetchall()
        assert distances == [(1, 1, 0.0)] * 3
