"""``vacpanel explain``: one image, many models, pictures and numbers in a folder."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import warehouse
from etl.images import read_image
from etl.seen import seen
from vacpanel import render
from vacpanel.classes import class_named
from warehouse.errors import UserError, VacpanelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from etl.explain.requests import Explanation, Target
    from warehouse import Warehouse


@dataclass(frozen=True)
class Explained:
    """One line of the printed table; an error in place of the numbers if the model failed."""

    model: str
    target: str = ""
    predicted: str = ""
    confidence: float = math.nan
    measures: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    flags: Sequence[str] = ()
    error: str = ""


def explain_image(
    path: Path, models: Sequence[str], image: str, method: str, target: str | None, threshold: float, out: Path
) -> list[Explained]:
    """Explain one image with several models; write ``<image>-<model>-<method>.png`` and ``.npy`` for each.

    Parameters
    ----------
    path
        The warehouse.
    models
        Names of models in it, with or without ``provider:``.
    image
        An image id, the path of an image as the warehouse has it, or any image file.
    method
        Name of an explanation method.
    target
        A class (id, WordNet id or name); None for the class each model predicts.
    threshold
        Attention below it is dimmed in the picture.
    out
        Folder for the files, made if need be. The maps are float32, (H, W) in [0, 1] at the model's input size.

    Returns
    -------
    list of Explained
        One a model, in the order asked.

    Raises
    ------
    UserError
        If the image, the target, the method or a model's name is not known.
    """
    from etl.explain.service import ExplanationService, Request

    with warehouse.open(path) as opened, ExplanationService(opened.root) as service:
        names = [_model_named(opened, model) for model in models]
        classes = opened.classes()
        class_names = dict(zip(map(int, classes["class_id"]), map(str, classes["class_name"]), strict=True))
        wanted: Target = "predicted" if target is None else class_named(classes, target)
        image_id, file = _image_named(opened, image)
        if image_id is None:
            futures = service.request_file(file, names, method=method, target=wanted)
        else:
            futures = service.request_many([Request(name, image_id, method, wanted) for name in names])
        out.mkdir(parents=True, exist_ok=True)
        picture = read_image(file).image
        rows = []
        for name, future in zip(names, futures, strict=True):
            try:
                found = future.result()
            except VacpanelError as error:
                rows.append(Explained(name, error=str(error)))
                continue
            view = seen(picture, name, opened.model_row(name).preprocess)
            _write(out / f"{_slug(file.stem)}-{_slug(name)}-{_slug(method)}", found, view, threshold)
            rows.append(
                Explained(
                    name,
                    class_names[found.target_class_id],
                    class_names[found.predicted_class_id],
                    found.confidence,
                    found.measures,
                    found.seconds,
                    found.flags,
                )
            )
        return rows


def _write(stem: Path, found: Explanation, seen: render.Image.Image, threshold: float) -> None:
    np.save(stem.with_name(stem.name + ".npy"), found.attention(seen.height, seen.width))
    render.overlay(seen, found.map, threshold).save(stem.with_name(stem.name + ".png"))


def _model_named(opened: Warehouse, text: str) -> str:
    """Return the canonical name of a model of the warehouse, from that name or its label."""
    table = opened.models()
    by_label = dict(zip(map(str, table["label"]), map(str, table["model"]), strict=True))
    known = set(by_label.values())
    if text in known:
        return text
    if text in by_label:
        return by_label[text]
    raise UserError(f"This warehouse has no model {text!r}; it has {', '.join(sorted(known)) or 'none yet'}.")


def _image_named(opened: Warehouse, text: str) -> tuple[int | None, Path]:
    """Return (image id or None for a file that is not in the warehouse, the file)."""
    if text.isdigit():
        return int(text), opened.image(int(text)).file
    file = Path(text).expanduser().resolve()
    query = "SELECT image_id FROM images WHERE path = ? OR root || '/' || path = ? ORDER BY image_id LIMIT 1"
    found = opened.sql(query, [text, str(file)]).fetchall()
    if found:
        return found[0][0], opened.image(found[0][0]).file
    if not file.is_file():
        raise UserError(f"There is no image {text!r}: give an image id of the warehouse, or the path of an image file.")
    return None, file


def _slug(text: str) -> str:
    """Return the text as a part of a file name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "x"
