"""``vacpanel explain``: one image, many models and methods; pictures and numbers in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import warehouse
from etl.images import read_image
from etl.seen import seen
from vacpanel.classes import class_named
from vacpanel.explain_files import Explained, Look, write_all, write_one
from warehouse.errors import UserError, VacpanelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from etl.explain.requests import Explanation, Target
    from etl.explain.service import ExplanationService
    from warehouse import Warehouse

PAPER = ("grad-cam", "grad-cam++", "smooth-grad-cam++", "score-cam", "bbmp")
"""The methods of the paper, which ``all`` means."""

Pair = tuple[str, str]  # model, method


@dataclass(frozen=True)
class Question:
    """What to explain.

    Parameters
    ----------
    models
        Names of models of the warehouse, or their labels.
    image
        An image id, the path of an image as the warehouse has it, or any image file.
    methods
        Names of explanation methods; ``"all"`` stands for those of the paper.
    target
        A class (id, WordNet id or name); None for the class each model predicts.
    look
        How to show the maps.
    """

    models: Sequence[str]
    image: str
    methods: Sequence[str] = ("grad-cam",)
    target: str | None = None
    look: Look = field(default_factory=Look)


def explain_image(
    path: Path, question: Question, out: Path, progress: Callable[[float], None] = lambda _share: None
) -> list[Explained]:
    """Explain one image with several models and methods, and write what there is to see.

    ``<image>-<model>-<method>.png`` is the heatmap with contour lines, ``.npy`` the map: float32, (H, W) in [0, 1] at
    the model's input size. The folder ``details`` holds the rest: of each map the picture masked to its region of
    interest (``-masked.png``) and the region's colour-intensity histogram (``-histogram.csv``, ``.png``); of all
    ``<image>-summary.csv`` and ``<image>-contact-sheet.png``; and, with two or more models, how alike their maps are
    (``<image>-<method>-similarity-<measure>.csv``: Algorithm 2 on each model's own view of the image).

    Parameters
    ----------
    path
        The warehouse.
    question
        What to explain.
    out
        Folder for the files, made if need be.
    progress
        Called, from any thread, with the share of the work that is done.

    Returns
    -------
    list of Explained
        The methods of the first model, then those of the next. A model that fails does not disturb the others.

    Raises
    ------
    UserError
        If the image, the target, a method or a model's name is not known.
    """
    from etl.explain import load_method
    from etl.explain.service import ExplanationService

    methods = [load_method(name) for name in _expanded(question.methods)]
    with warehouse.open(path) as opened, ExplanationService(opened.root) as service:
        models = list(dict.fromkeys(_model_named(opened, model) for model in question.models))
        image_id, file = _image_named(opened, question.image)
        pairs = [(model, method.name) for model in models for method in methods]
        futures = _ask(service, opened, question, pairs, file if image_id is None else image_id, progress)
        classes = opened.classes()
        names = dict(zip(map(int, classes["class_id"]), map(str, classes["class_name"]), strict=True))
        results = []
        for pair in pairs:
            result = _result(opened, file, pair, futures[pair], names)
            write_one(out, file, result, question.look)
            results.append(result)
        write_all(out, file, results, {method.name: method.title for method in methods}, question.look)
        return results


def _ask(
    service: ExplanationService,
    opened: Warehouse,
    question: Question,
    pairs: Sequence[Pair],
    image: int | Path,
    progress: Callable[[float], None],
) -> Mapping[Pair, Future[Explanation]]:
    """Request an explanation for each model and method, those of one model after another."""
    from etl.explain.requests import Request

    wanted: Target = "predicted" if question.target is None else class_named(opened.classes(), question.target)
    done = dict.fromkeys(pairs, 0.0)

    def tell(pair: Pair, share: float) -> None:
        done[pair] = share
        progress(sum(done.values()) / len(done))

    def listen(pair: Pair) -> Callable[[int, float, object], None]:
        return lambda _position, share, _map: tell(pair, share)

    futures: dict[Pair, Future[Explanation]] = {}
    if isinstance(image, int):
        requests = [Request(model, image, method, wanted) for model, method in pairs]
        answers = service.request_many(requests, lambda i, share, _map: tell(pairs[i], share))
        futures.update(zip(pairs, answers, strict=True))
    else:
        for model, method in pairs:
            asked = service.request_file(image, [model], listen((model, method)), method=method, target=wanted)
            futures[model, method] = asked[0]
    for pair, future in futures.items():
        future.add_done_callback(partial(lambda pair, _future: tell(pair, 1.0), pair))
    return futures


def _result(
    opened: Warehouse, file: Path, pair: Pair, future: Future[Explanation], names: Mapping[int, str]
) -> Explained:
    """Wait for an explanation; an error becomes part of the result."""
    from etl.explain.postprocess import CONSTANT, NOT_FINITE

    model, method = pair
    try:
        found = future.result()
        picture = seen(read_image(file).image, model, opened.model_row(model).preprocess)
    except VacpanelError as error:
        return Explained(model, method, error=str(error))
    return Explained(
        model,
        method,
        target=names[found.target_class_id],
        predicted=names[found.predicted_class_id],
        confidence=found.confidence,
        measures=found.measures,
        seconds=found.seconds,
        flags=found.flags,
        blank=next((flag for flag in found.flags if flag in {CONSTANT, NOT_FINITE}), ""),
        attention=found.attention(picture.height, picture.width),
        picture=picture,
    )


def _expanded(methods: Sequence[str]) -> list[str]:
    """Return each method once, in the order asked."""
    return list(dict.fromkeys(name for method in methods for name in (PAPER if method == "all" else [method])))


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
