"""A folder of class folders, as ``torchvision.datasets.ImageFolder`` reads it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from etl.classes import ClassTable, ClassTableError, from_folders, imagenet, is_wnid, match_folders
from etl.datasets import DatasetError, LabelledImage, OpenOptions
from etl.images import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa


@dataclass(frozen=True)
class ImageFolder:
    """Class folders with image files in them, at any depth.

    Attributes
    ----------
    root
        The image folder, absolute.
    classes
        The class table.
    folders
        Class id of each class folder.
    """

    root: Path
    classes: ClassTable
    folders: dict[str, int]

    def images(self) -> Iterator[LabelledImage]:
        """All images, sorted by path."""
        for folder in sorted(self.folders):
            for path in sorted(_image_files(self.root / folder, folder)):
                yield LabelledImage(path, self.folders[folder])

    def objects(self) -> pa.Table | None:
        """None: a folder of images does not know."""
        return None


class ImageFolderProvider:
    """``imagefolder:FOLDER``, or just the folder."""

    name = "imagefolder"
    description = "a folder of class folders, each named by wnid or class name"

    def open(self, argument: str, options: OpenOptions) -> ImageFolder:
        """Open a folder; see :class:`etl.datasets.DatasetProvider`."""
        root = Path(argument).expanduser().absolute()
        folders = class_folders(root)
        table = options.classes if options.classes is not None else _choose_table(folders, options)
        return ImageFolder(root, table, match_folders(table, folders))


def class_folders(root: Path) -> list[str]:
    """Names of the subfolders that hold images, sorted; hidden ones are passed over.

    Raises
    ------
    DatasetError
        If the folder does not exist, cannot be read, or holds no class folder with images, or the name of one of them
        is not UTF-8.
    """
    try:
        if not root.is_dir():
            raise DatasetError(f"The image folder {root} does not exist or is not a folder.")
        names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"The image folder {root} cannot be read: {error.strerror}.") from error
    found = [name for name in names if next(_image_files(root / name, name), None) is not None]
    if not found:
        what = f"{len(names)} folders but no image in them" if names else "no class folders"
        raise DatasetError(f"The image folder {root} holds {what}; images belong into one folder per class.")
    return found


def _choose_table(folders: list[str], options: OpenOptions) -> ClassTable:
    """ImageNet-1k for WordNet ids, else the first model whose class names fit, else the folder names."""
    if all(is_wnid(folder) for folder in folders):
        return imagenet()
    for table in options.model_classes():
        try:
            match_folders(table, folders)
        except ClassTableError:
            continue
        return table
    return from_folders(folders)


def _image_files(folder: Path, prefix: str) -> Iterator[str]:
    """Paths of the image files below a class folder; links are followed, but never in a circle.

    Raises
    ------
    DatasetError
        If a folder cannot be read, since a class would silently lack its images, or a name is not UTF-8, which no
        table can hold.
    """
    visited: set[tuple[int, int]] = set()
    for directory, subfolders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        status = Path(directory).stat()
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        inner = Path(directory).relative_to(folder).as_posix()
        base = prefix if inner == "." else f"{prefix}/{inner}"
        for name in sorted(names):
            if not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES:
                _check_utf8(f"{directory}/{name}")
                yield f"{base}/{name}"


def _unreadable(error: OSError) -> None:
    raise DatasetError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error


def _check_utf8(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        # Python stands in for such bytes with characters that can be neither stored nor printed.
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DatasetError(f"The name {shown} is not UTF-8; rename it.") from None
