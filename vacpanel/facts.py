"""What the warehouse knows of models and images that are explained: it stands beside every map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warehouse import Warehouse


def known_facts(
    warehouse: Warehouse, models: Sequence[str], image_ids: Sequence[int]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Return what is known, by model and image; any thread may ask.

    Of each pair ``label``, ``key``, ``top1``, ``class_id`` and ``class_name`` (the true ones) and ``class_top1``; and
    what the model said, unless it did not see the image: ``predicted_class_id``, ``predicted_class_name``,
    ``confidence`` and ``correct``.

    Parameters
    ----------
    warehouse
        To be asked. It remembers its answers: who asks again waits a millisecond.
    models, image_ids
        Canonical names, and images.

    Raises
    ------
    WarehouseError
        If the warehouse has no such model or image.
    """
    rows = {model: warehouse.model_row(model) for model in models}
    images = {image_id: warehouse.image(image_id) for image_id in image_ids}
    tally = warehouse.tally()
    on_class: dict[tuple[str, int], float] = {}
    for class_id in {image.class_id for image in images.values()}:
        found = tally.on_class(class_id)
        on_class |= {(str(m), class_id): float(top1) for m, top1 in zip(found["model"], found["top1"], strict=True)}
    facts: dict[tuple[str, int], dict[str, Any]] = {
        (model, image_id): {
            "label": row.label,
            "key": row.key,
            "top1": row.top1,
            "class_id": image.class_id,
            "class_name": image.class_name,
            "class_top1": on_class.get((model, image.class_id)),
        }
        for model, row in rows.items()
        for image_id, image in images.items()
    }
    said = warehouse.predictions(models, image_ids)
    for at, pair in enumerate(zip(map(str, said["model"]), map(int, said["image_id"]), strict=True)):
        facts[pair] |= {
            "predicted_class_id": int(said["predicted_class_id"][at]),
            "predicted_class_name": str(said["predicted_class_name"][at]),
            "confidence": float(said["confidence"][at]),
            "correct": bool(said["correct"][at]),
        }
    return facts
