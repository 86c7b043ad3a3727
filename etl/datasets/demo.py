"""The embedded demo's images: pictograms in clutter, drawn on first use, with the place of each pictogram known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.parquet as pq

from etl.classes import ClassTable, ClassTableError
from etl.datasets import DatasetError, LabelledImage, OpenOptions
from etl.datasets.imagefolder import ImageFolder, class_folders
from etl.demo import pictograms
from etl.demo.glyphs import CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES_PER_CLASS = 25
"""Default number of test images of each class."""


@dataclass(frozen=True)
class DemoDataset:
    """A folder of pictograms.

    Attributes
    ----------
    folder
        The images.
    """

    folder: ImageFolder

    @property
    def root(self) -> Path:
        """The image folder, absolute."""
        return self.folder.root

    @property
    def classes(self) -> ClassTable:
        """The demo's 64 classes."""
        return self.folder.classes

    def images(self) -> Iterator[LabelledImage]:
        """All images, sorted by path."""
        return self.folder.images()

    def objects(self) -> pa.Table:
        """Box and mask of each pictogram; see :meth:`etl.datasets.Dataset.objects`."""
        table = pq.read_table(self.root / pictograms.OBJECTS)
        return table.select(["path", "left", "top", "right", "bottom", "mask"])


class DemoProvider:
    """``demo:FOLDER`` or ``demo:FOLDER?images_per_class=25``: writes the images there unless they are there."""

    name = "demo"
    description = "pictograms of the embedded demo, drawn into a folder: demo:FOLDER?images_per_class=25"

    def open(self, argument: str, options: OpenOptions) -> DemoDataset:
        """Open the data set; see :class:`etl.datasets.DatasetProvider`."""
        path, _, query = argument.partition("?")
        if not path:
            raise DatasetError("Name the folder for the demo's images: demo:FOLDER")
        table = class_table()
        if options.classes is not None and options.classes != table:
            raise ClassTableError("The demo's images have a class table of their own; use another warehouse.")
        count = _images_per_class(query)
        root = Path(path).expanduser().absolute()

        def progress(done: int, total: int) -> None:
            options.progress("drawing the demo's images", done / total)

        try:
            pictograms.write(root, count, "test", progress)
        except ImportError as error:
            raise DatasetError(str(error)) from error
        except OSError as error:
            raise DatasetError(f"The demo's images cannot be written to {root}: {error.strerror}.") from error
        ids = {c.class_name: c.class_id for c in CLASSES}
        return DemoDataset(ImageFolder(root, table, {name: ids[name] for name in class_folders(root)}))


def class_table() -> ClassTable:
    """Return the demo's 64 classes with their eight root classes."""
    return ClassTable(
        tuple(c.class_name for c in CLASSES), tuple(c.root_class for c in CLASSES), (None,) * len(CLASSES)
    )


def _images_per_class(query: str) -> int:
    values = parse_qs(query, keep_blank_values=True)
    unknown = values.keys() - {"images_per_class"}
    text = values.get("images_per_class", [str(IMAGES_PER_CLASS)])[-1]
    if unknown or not text.isdecimal() or int(text) < 1:
        raise DatasetError(f"{query!r} is not understood; write demo:FOLDER?images_per_class=NUMBER, at least 1.")
    return int(text)
