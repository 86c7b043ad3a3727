"""The validation images of ImageNet (ILSVRC 2012) as its archives unpack: one flat folder, classes in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from etl.classes import ClassTable, ClassTableError, imagenet
from etl.datasets import DatasetError, LabelledImage, OpenOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

DEVKIT = "ILSVRC2012_devkit_t12"
"""Folder that the development kit unpacks to."""

_GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_SYNSETS = "data/meta.mat"
_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


@dataclass(frozen=True)
class ImageNetValidation:
    """The flat folder of validation images.

    Attributes
    ----------
    root
        The image folder, absolute.
    classes
        The class table.
    labelled
        Path and class id of every image, sorted by path.
    """

    root: Path
    classes: ClassTable
    labelled: tuple[LabelledImage, ...]

    def images(self) -> Iterator[LabelledImage]:
        """All images, sorted by path."""
        yield from self.labelled

    def objects(self) -> pa.Table | None:
        """None: the boxes are in another archive."""
        return None


class ImageNetValidationProvider:
    """``imagenet-val:FOLDER`` or ``imagenet-val:FOLDER?devkit=FOLDER``.

    The first folder is what ``ILSVRC2012_img_val.tar`` unpacks to, the second what ``ILSVRC2012_devkit_t12.tar.gz``
    unpacks to; it is found by itself in the first one or beside it. Some of the images will do.
    """

    name = "imagenet-val"
    description = "ImageNet's validation archive, unpacked flat, with its development kit in it or beside it"

    def open(self, argument: str, options: OpenOptions) -> ImageNetValidation:
        """Open the data set; see :class:`etl.datasets.DatasetProvider`."""
        path, _, query = argument.partition("?")
        root = Path(path).expanduser().absolute()
        numbers = _numbers(root)
        devkit = _devkit(root, query)
        wnids, truth = _synsets(devkit / _SYNSETS), _ground_truth(devkit / _GROUND_TRUTH)
        table = options.classes if options.classes is not None else imagenet()
        class_of = {wnid: class_id for class_id, wnid in enumerate(table.wnids) if wnid}
        labelled = []
        for name, number in sorted(numbers.items()):
            wnid = wnids.get(truth[number - 1]) if 0 < number <= len(truth) else None
            if wnid is None:
                raise DatasetError(f"The development kit {devkit} does not say what {name} shows.")
            if wnid not in class_of:
                raise ClassTableError(f"The class {wnid} of {name} is none of the {len(table)} classes.")
            labelled.append(LabelledImage(name, class_of[wnid]))
        return ImageNetValidation(root, table, tuple(labelled))


def _numbers(root: Path) -> dict[str, int]:
    """Return the number in the name of each validation image."""
    try:
        found = {path.name: _IMAGE.fullmatch(path.name) for path in root.iterdir()}
    except OSError as error:
        raise DatasetError(f"The image folder {root} cannot be read: {error.strerror}.") from error
    numbers = {name: int(match[1]) for name, match in found.items() if match}
    if not numbers:
        raise DatasetError(f"The folder {root} holds no ILSVRC2012_val_*.JPEG; unpack ILSVRC2012_img_val.tar there.")
    return numbers


def _devkit(root: Path, query: str) -> Path:
    """Find the development kit: where the query says, in the image folder, or beside it."""
    values = parse_qs(query, keep_blank_values=True)
    if values.keys() - {"devkit"}:
        raise DatasetError(f"{query!r} is not understood; write imagenet-val:FOLDER?devkit=FOLDER.")
    named = [Path(folder).expanduser().absolute() for folder in values.get("devkit", [])[-1:]]
    places = named or [root / DEVKIT, root.parent / DEVKIT]
    for place in places:
        if (place / _GROUND_TRUTH).is_file() and (place / _SYNSETS).is_file():
            return place
    raise DatasetError(
        f"There is no {_GROUND_TRUTH} with {_SYNSETS} in {' or '.join(map(str, places))}; "
        f"unpack {DEVKIT}.tar.gz, or name its folder: imagenet-val:{root}?devkit=FOLDER."
    )


def _synsets(path: Path) -> dict[int, str]:
    """Return the WordNet id of each ILSVRC id, which count in an order of their own, unlike the models' outputs."""
    from scipy.io import loadmat

    try:
        synsets: Any = loadmat(path, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except Exception as error:
        raise DatasetError(f"{path} is no list of ImageNet's classes: {str(error) or type(error).__name__}") from error


def _ground_truth(path: Path) -> list[int]:
    """Return the ILSVRC id of each image; line N belongs to the image numbered N."""
    try:
        return [int(line) for line in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is no list of class ids, one a line: {error}") from error
