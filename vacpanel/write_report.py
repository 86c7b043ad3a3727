"""``vacpanel report``: a comparison as one HTML file, without a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vacpanel import serving
from vacpanel.choice import choose_comparison, open_link
from vacpanel.controller import Controller
from vacpanel.report import report
from vacpanel.state import Selection
from warehouse import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_report(
    path: Path, out: Path, link: str | None, address: str, progress: Callable[[float], None]
) -> tuple[list[str], bool]:
    """Explain what a link selects, and write the comparison to a file.

    Parameters
    ----------
    path
        The warehouse.
    out
        The file; its folder is made if need be.
    link
        The address of a dashboard or its query; None to choose something worth a comparison.
    address
        Where the dashboard is served, for the link in the file.
    progress
        Called with the share of the work that is done.

    Returns
    -------
    notices : list of str
        A sentence for everything in the link that cannot be shown.
    failed : bool
        Whether there is no map at all.

    Raises
    ------
    UserError
        If there is nothing to compare, or the file cannot be written.
    """
    opened = serving.open_warehouse(path)
    try:
        state = Selection(generation=opened.generation)
        query = "" if link is None else urlsplit(link).query or link
        notices = open_link(opened, query, state)
        choose_comparison(opened, state, models=link is None)
        rows = Controller(opened, state).finish(lambda done, total: progress(done / total))
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(report(opened, state, rows, address), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{out} cannot be written: {error.strerror}.") from error
        return notices, all(row.attention is None for row in rows)
    finally:
        serving.close_all()
