"""What a server process holds once, for all of its sessions: open warehouses, media, explanation services."""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import warehouse
from etl.plugins import TORCH
from vacpanel.media import Media
from warehouse.errors import UserError
from warehouse.folder import Folder
from warehouse.publish import publish

if TYPE_CHECKING:
    from etl.explain.service import ExplanationService

logger = logging.getLogger(__name__)
_lock = threading.Lock()
_connecting = threading.Lock()  # its own, because finding a cluster may take seconds
_opened: dict[Path, warehouse.Warehouse] = {}
_media: dict[Path, Media] = {}
_services: dict[Path, ExplanationService] = {}
_coming: set[Path] = set()  # warehouses whose service somebody is loading
_timers: dict[Path, threading.Timer] = {}

WAREHOUSES_VARIABLE = "VACPANEL_WAREHOUSES"  # what the server was started with, for its worker processes
EXPLAIN_VARIABLE = "VACPANEL_EXPLAIN_ON"  # where they compute explanations

PUBLISH_AFTER = 20.0
"""Seconds after the last map of a dashboard until its maps are published for SQL."""

COLLECT_AFTER = 30
"""Collections of younger objects until Python looks at all objects of its own accord: two or three pages, where its
usual 10 are less than one page. With 100 the memory of a server grew by a tenth in 180 sessions."""


@cache
def settle() -> None:
    """Take what the process has loaded out of garbage collection, once, before there are sessions that are to go.

    All sessions wait while Python goes through what there is: most of it are the objects of modules, which stay. Panel
    collects when sessions have ended and no other does for a while; Python alone would do so with every page it draws.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], COLLECT_AFTER)


def open_warehouse(path: str | Path) -> warehouse.Warehouse:
    """Return the process's one open `Warehouse` of a folder."""
    root = Folder.at(path).root
    with _lock:
        if root not in _opened:
            _opened[root] = warehouse.open(root)
            _media[root] = Media(_opened[root])
        return _opened[root]


def media_of(opened: warehouse.Warehouse) -> Media:
    """Return the media of an open warehouse."""
    with _lock:
        if opened.root not in _media:
            _media[opened.root] = Media(opened)
        return _media[opened.root]


def media_for(key: str) -> Media | None:
    """Return the media with this key, opening the warehouses that the server was started with if need be."""
    if all(media.key != key for media in _media.values()):
        for path in filter(None, os.environ.get(WAREHOUSES_VARIABLE, "").split(os.pathsep)):
            open_warehouse(path)
    return next((media for media in _media.values() if media.key == key), None)


@cache
def missing_packages() -> str:
    """Say what to install where explanations cannot be computed; empty where they can. Imports nothing."""
    missing = [name for name in TORCH if find_spec(name) is None]
    return f"Explanations need PyTorch; run: pip install {' '.join(missing)}" if missing else ""


def explanation_service(opened: warehouse.Warehouse) -> ExplanationService:
    """Return the process's one explanation service of a warehouse; the first call takes seconds, it imports torch.

    Raises
    ------
    UserError
        If PyTorch is not installed, or the server was told to compute explanations on a cluster, and that does not
        answer.
    """
    if missing_packages():
        raise UserError(missing_packages())
    # Read when torch is loaded: threads that wait should sleep, lest they take the processor from other sessions' work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from etl.explain.service import connect

    with _connecting:
        if opened.root not in _services:
            _services[opened.root] = connect(opened.root, os.environ.get(EXPLAIN_VARIABLE, "local"))
        return _services[opened.root]


def explain_soon(opened: warehouse.Warehouse) -> None:
    """Have the explanation service of a warehouse ready, in a thread: somebody is about to ask it.

    Its first call takes seconds, and so does finding out that a cluster does not answer; what is wrong is told to who
    asks.
    """

    def connect_now() -> None:
        try:
            with suppress(warehouse.VacpanelError):
                explanation_service(opened)
        finally:
            _coming.discard(opened.root)

    if not explains(opened) and not missing_packages():
        _coming.add(opened.root)
        threading.Thread(target=connect_now, name="explain soon", daemon=True).start()


def explains(opened: warehouse.Warehouse) -> bool:
    """Return whether the explanation service of a warehouse is there, or coming: whoever needs it loads torch else."""
    return opened.root in _services or opened.root in _coming


def publish_soon(opened: warehouse.Warehouse) -> None:
    """Publish the maps computed so far once no other has been made for `PUBLISH_AFTER` seconds."""

    def publish_now() -> None:
        with _lock:
            _timers.pop(opened.root, None)
        try:
            publish(opened.root)
        except warehouse.VacpanelError:
            logger.exception("The explanations could not be published")

    timer = threading.Timer(PUBLISH_AFTER, publish_now)
    timer.daemon = True
    with _lock:
        if opened.root in _timers:
            _timers[opened.root].cancel()
        _timers[opened.root] = timer
    timer.start()


def close_all() -> None:
    """Close everything (tests, shutdown)."""
    with _connecting:
        for service in _services.values():
            service.close()
        _services.clear()
        _coming.clear()
    with _lock:
        for timer in _timers.values():
            timer.cancel()
        _timers.clear()
        for opened in _opened.values():
            opened.close()
        _media.clear()
        _opened.clear()


def explain_where(asked: str | None) -> str:
    """Decide where a server computes explanations.

    Parameters
    ----------
    asked
        ``"local"``, ``"shared"`` or the address of a Dask scheduler; None for a process of its own, so that pages open
        quickly while something is computed, and several server processes do not each hold all models.

    Raises
    ------
    UserError
        If it is nothing of these.
    """
    if asked is None:
        return "shared" if hasattr(socket, "AF_UNIX") else "local"
    if asked not in {"local", "shared"} and "://" not in asked:
        raise UserError(
            f"Explanations are computed on 'local', 'shared' or the address of a Dask scheduler such as"
            f" tcp://server:8786, not on {asked!r}."
        )
    return asked


def serve_app(directories: list[str], port: int, panel_flags: list[str], explain_on: str | None = None) -> None:
    """Run ``panel serve vacpanel/app.py`` with the media routes; returns when the server stops.

    Parameters
    ----------
    directories
        Warehouse folders; the first is shown.
    port
        TCP port.
    panel_flags
        Further flags of ``panel serve``, passed on unchanged.
    explain_on
        Where explanations are computed, see `explain_where`.

    Raises
    ------
    UserError
        If there is no such place.
    """
    from panel.command import main as panel_main

    # Panel asks models for attributes that they lack, and Bokeh compares all names to suggest one, at every click.
    os.environ.setdefault("BOKEH_PERFORM_ERROR_DIAGNOSTICS", "no")
    os.environ[WAREHOUSES_VARIABLE] = os.pathsep.join(str(Path(d).resolve()) for d in directories)
    os.environ[EXPLAIN_VARIABLE] = explain_where(explain_on)
    app = Path(__file__).with_name("app.py")
    # Panel's entry point looks at sys.argv, not at its argument.
    sys.argv = ["panel", "serve", str(app), "--port", str(port), "--plugins", "vacpanel.routes"]
    given = {flag.partition("=")[0] for flag in panel_flags}
    # A page of the user's own is shown although there is one app only, to which Bokeh would go at once.
    sys.argv += ["--disable-index-redirect"] if "--index" in given else ["--index", "app"]
    if "--basic-auth" in given and "--basic-login-template" not in given:
        # Panel's own asks a CDN for its pictures.
        panel_flags = [*panel_flags, "--basic-login-template", str(app.parent / "browser" / "login.html")]
    if not {"--num-procs", "--reuse-sessions"} & given:
        # A page is begun at once, and gets a session of its own when it connects. Not with several processes, each of
        # which would know its own beginnings only.
        panel_flags = [*panel_flags, "--warm", "--reuse-sessions"]
        from vacpanel.ready import serve_ready

        serve_ready()
    sys.argv += [*panel_flags, "--args", *directories]
    try:
        panel_main()
    finally:
        close_all()
