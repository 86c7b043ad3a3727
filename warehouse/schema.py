"""The columns of every Parquet file in a warehouse, and their meaning.

Parts are the immutable units of an ETL's work; derived files are computed from them and may be replaced. The
relations that people query are built from both by `warehouse.publish` as `schema.sql` says.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1
"""Rises when parts or derived files of an older version can no longer be read."""


def _schema(**columns: pa.DataType | tuple[pa.DataType, str]) -> pa.Schema:
    """Make a schema; a column that may be missing is given as `optional(type)`."""
    return pa.schema(
        [
            pa.field(name, kind[0], nullable=True) if isinstance(kind, tuple) else pa.field(name, kind, nullable=False)
            for name, kind in columns.items()
        ]
    )


def _optional(kind: pa.DataType) -> tuple[pa.DataType, str]:
    return kind, "optional"


def _vector(kind: pa.DataType) -> pa.DataType:
    return pa.list_(kind)


PART_SCHEMAS: dict[str, pa.Schema] = {
    # `_`/`table`: the class table, in order of class_id = 0 .. N-1.
    "classes": _schema(
        class_id=pa.int32(),
        wnid=_optional(pa.string()),
        class_name=pa.string(),
        root_class=pa.string(),
    ),
    # `_`/`shard-00000`: the register of images; a later run appends shards for new images, never changes one.
    "images": _schema(
        image_id=pa.int32(),
        root=pa.string(),  # image folder: absolute, or relative to the warehouse that it lies in (`Folder.named`)
        path=pa.string(),  # relative to root, with forward slashes
        class_id=pa.int32(),
        bytes=pa.int64(),
        modified_ns=pa.int64(),
    ),
    # `_`/`shard-00000`: what decoding the images of the shard told; `reason` set means the image was skipped.
    "decoded": _schema(
        image_id=pa.int32(),
        width=_optional(pa.int32()),
        height=_optional(pa.int32()),
        sha256=_optional(pa.string()),
        reason=_optional(pa.string()),
    ),
    # `_`/`shard-00000`: where the object is (pixels; right and bottom exclusive), if the data set knows;
    # `mask` is a 1-bit PNG of the image's size.
    "objects": _schema(
        image_id=pa.int32(),
        left=pa.int32(),
        top=pa.int32(),
        right=pa.int32(),
        bottom=pa.int32(),
        mask=pa.binary(),
    ),
    # `<model_key>`/`shard-00000`: written last of a (model, shard) unit, so its existence means the unit is
    # done. The columns of ranks 2 to 5 are missing where there are fewer classes.
    "predictions": _schema(
        image_id=pa.int32(),
        class_id=pa.int32(),
        predicted_class_id=pa.int32(),
        confidence=pa.float32(),
        true_confidence=pa.float32(),
        true_rank=pa.int32(),
        **{f"class_id_{rank}": _optional(pa.int32()) for rank in range(2, 6)},
        **{f"confidence_{rank}": _optional(pa.float32()) for rank in range(2, 6)},
    ),
    # `<model_key>`/`shard-00000`: per true class of the shard, the sum of its images' confidence vectors (N
    # values, in the order of the class table) and their number: all that Algorithm 1 needs.
    "confidences": _schema(
        class_id=pa.int32(),
        images=pa.int64(),
        sum_confidence=_vector(pa.float64()),
    ),
    # `<model_key>`/`shard-00000`: penultimate features.
    "features": _schema(
        image_id=pa.int32(),
        vector=_vector(pa.float16()),
    ),
    # `_`/`<model_key>`: one row; written when the model's shards of a run are complete. Without it a model is
    # not published.
    "models": _schema(
        key=pa.string(),
        model=pa.string(),  # canonical "provider:name"
        label=pa.string(),  # short name for plots
        family=pa.string(),
        source=pa.string(),  # the provider
        parameters=pa.int64(),
        flops=_optional(pa.int64()),  # of one forward pass of one image
        input_size=pa.int32(),  # pixels, side of the square input
        latency_ms=_optional(pa.float64()),
        images_per_second=_optional(pa.float64()),
        precision=pa.string(),
        weights_sha256=pa.string(),
        preprocess=pa.string(),
        layer=_optional(pa.string()),  # the layer that explanations use by default
        created_at=pa.timestamp("us"),  # UTC
    ),
}
"""Columns of the parts by kind (`parts/<kind>/<scope>/<name>.parquet`)."""

DERIVED_SCHEMAS: dict[str, pa.Schema] = {
    # `<model_key>`: t-SNE of the class distances.
    "class_layouts": _schema(class_id=pa.int32(), x=pa.float32(), y=pa.float32()),
    # `<model_key>`: t-SNE of the penultimate features.
    "image_layouts": _schema(image_id=pa.int32(), x=pa.float32(), y=pa.float32()),
    # `<model_key>`: principal components of the penultimate features.
    "embeddings": _schema(image_id=pa.int32(), vector=_vector(pa.float32())),
    # `<run_id>`: one row about one ETL run.
    "runs": _schema(
        run_id=pa.string(),
        started_at=pa.timestamp("us"),  # UTC
        finished_at=_optional(pa.timestamp("us")),  # UTC
        status=pa.string(),  # one of RUN_STATUSES
        command=pa.string(),
        images=pa.string(),  # the image folder
        versions=pa.string(),  # JSON object: package -> version
        message=_optional(pa.string()),
    ),
}
"""Columns of the derived files by kind (`derived/<kind>/<name>.parquet`)."""

RUN_STATUSES = ("running", "finished", "finished with errors", "interrupted", "failed")
"""What `runs.status` and `Progress.status` can be."""
