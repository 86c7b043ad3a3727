"""Where everything lies in the folder of a warehouse."""

from __future__ import annotations

import re
from pathlib import Path

from warehouse import files
from warehouse.errors import WarehouseError
from warehouse.storage import storage_at, without_password

PUBLISHED_NAME = "warehouse.duckdb"
_GENERATION = re.compile(r"(\d{6,})\.duckdb")


class Folder:
    """The paths of one warehouse; makes and reads nothing but its own directories and links.

    Parameters
    ----------
    root
        The folder of the warehouse. It need not exist: `create` makes it.

    Attributes
    ----------
    root : Path
        The folder itself, absolute.
    published : Path
        `warehouse.duckdb`, what people open: a symbolic link to a copy of the current generation.
    parts : Path
        Immutable Parquet files, the units of work of an ETL, unless they lie elsewhere.
    parts_elsewhere : Path
        Text file with the path or URL where the parts lie, if not in `parts`.
    derived : Path
        Replaceable Parquet files computed from parts.
    generations : Path
        Published databases, the link `current`, and the publisher's lock.
    current : Path
        Symbolic link to the newest complete generation, the file that dashboards open read-only.
    lock : Path
        Locked (`flock`) by whoever publishes.
    explanations : Path
        SQLite file with the explanation maps computed so far.
    progress : Path
        JSON file that says what a running ETL is doing.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.published = self.root / PUBLISHED_NAME
        self.parts = self.root / "parts"
        self.parts_elsewhere = self.root / "parts.url"
        self.derived = self.root / "derived"
        self.generations = self.root / ".gen"
        self.current = self.generations / "current"
        self.lock = self.generations / "publish.lock"
        self.explanations = self.root / "explanations.sqlite"
        self.progress = self.root / "progress.json"

    def __repr__(self) -> str:
        return f"Folder({str(self.root)!r})"

    @classmethod
    def at(cls, path: str | Path) -> Folder:
        """Return the warehouse at `path`.

        Parameters
        ----------
        path
            The folder of a warehouse, or the `warehouse.duckdb` in it.

        Raises
        ------
        WarehouseError
            If there is no warehouse.
        """
        given = Path(path).expanduser()
        folder = cls(given.parent if given.name == PUBLISHED_NAME else given)
        if not folder.root.exists():
            raise WarehouseError(f"There is no folder {given}; `vacpanel etl` or `vacpanel demo` makes a warehouse.")
        if not folder.exists():
            raise WarehouseError(f"{given} is not a warehouse; name the folder that `vacpanel etl --warehouse` made.")
        return folder

    def exists(self) -> bool:
        """Tell whether the folder holds a warehouse, published or not."""
        return self.generations.is_dir() and self.parts.is_dir()

    def create(self) -> Folder:
        """Make the folder and the directories in it, unless they are there; return the folder.

        Raises
        ------
        WarehouseError
            If something else is in the way, or the folder cannot be written.
        """
        if not self.exists() and (self.published.exists() or self.published.is_symlink()):
            raise WarehouseError(f"{self.published} exists but belongs to no warehouse; choose another folder.")
        try:
            # `parts` comes last: with it the folder counts as a warehouse.
            for directory in (self.root, self.generations, self.derived, self.parts):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WarehouseError(f"Cannot make a warehouse in {self.root}: {error.strerror}.") from error
        return self

    def named(self, place: Path) -> str:
        """Return how a folder of images is written down: relative to the warehouse if in it, which may be moved."""
        resolved, home = place.resolve(), self.root.resolve()
        return resolved.relative_to(home).as_posix() if resolved.is_relative_to(home) else str(place)

    def placed(self, name: str) -> Path:
        """Return the folder that was written down by `named`, absolute."""
        return self.root / name

    @property
    def parts_location(self) -> Path | str:
        """Where the parts lie: `parts`, or the path or URL that `keep_parts_at` was told."""
        try:
            return self.parts_elsewhere.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return self.parts

    def keep_parts_at(self, location: str) -> None:
        """Keep the parts elsewhere, for good; looks there before it says so.

        Parameters
        ----------
        location
            A path or URL, see `warehouse.storage.storage_at`.

        Raises
        ------
        UserError
            If the place cannot be reached, or there are parts already, in another place.
        """
        if "://" not in location:
            location = str(Path(location).expanduser().absolute())
        if str(self.parts_location) == location:
            return
        if self.parts_elsewhere.exists() or any(self.parts.iterdir()):
            raise WarehouseError(
                f"{self.root} keeps its parts at {without_password(str(self.parts_location))}; "
                "leave out --parts, or make another warehouse."
            )
        storage_at(location).names("classes")
        files.replace_text(self.parts_elsewhere, f"{location}\n")

    def generation_file(self, number: int) -> Path:
        """Return the path of generation `number`, as dashboards open it."""
        return self.generations / f"{number:06d}.duckdb"

    def generation_copy(self, number: int) -> Path:
        """Return the path of the copy of generation `number` that `warehouse.duckdb` points at."""
        return self.generations / f"{number:06d}-sql.duckdb"

    def current_generation(self) -> int | None:
        """Return the number of the newest complete generation, or None before the first.

        Costs one `readlink`.
        """
        try:
            target = self.current.readlink()
        except OSError:
            return None
        match = _GENERATION.fullmatch(target.name)
        return int(match[1]) if match else None
