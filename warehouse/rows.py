"""Single rows of the warehouse as objects."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from datetime import datetime


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a warehouse holds, in numbers.

    Parameters
    ----------
    models, classes, images
        How many there are; skipped images do not count.
    skipped
        Images that could not be read.
    generation
        Number of the published state.
    """

    models: int
    classes: int
    images: int
    skipped: int
    generation: int


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """One model: the columns of the relation `models`, and its accuracy.

    `top1` and `top5` are None before the model has predictions.
    """

    model: str
    label: str
    family: str
    source: str
    parameters: int
    flops: int | None
    input_size: int
    latency_ms: float | None
    images_per_second: float | None
    precision: str
    weights_sha256: str
    preprocess: str
    layer: str | None
    key: str
    created_at: datetime
    images: int
    top1: float | None
    top5: float | None


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """One image: the columns of the relation `images`, and its class.

    `root` is absolute here, also of images that lie in the warehouse.
    `width`, `height` and `sha256` are None before the image was decoded.
    """

    image_id: int
    root: str
    path: str
    class_id: int
    class_name: str
    root_class: str
    width: int | None
    height: int | None
    sha256: str | None

    @property
    def file(self) -> Path:
        """The image's file, absolute; it may be missing on this machine.

        Raises
        ------
        WarehouseError
            If the path would lead out of the image folder.
        """
        relative = PurePosixPath(self.path)
        if relative.is_absolute() or ".." in relative.parts or "\0" in self.path:
            raise WarehouseError(f"Image {self.image_id} has a path outside its image folder: {self.path!r}.")
        root = Path(self.root)
        file = root.joinpath(*relative.parts)
        # A link inside the folder may lead anywhere, too.
        if not file.resolve().is_relative_to(root.resolve()):
            raise WarehouseError(f"Image {self.image_id} has a path outside its image folder: {self.path!r}.")
        return file
