"""Models that are kept ready for explanation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

# Here, not in the threads that load models: two that import it at once see each other's half.
import torchvision.models  # noqa: F401

from etl.classes import ClassTable, match_outputs
from etl.explain.prepared import PreparedModel
from etl.models import LoadedModel, resolve
from etl.models.checkpoints import state_sha256
from warehouse.errors import UserError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from etl.preprocess import Preprocessing
    from warehouse.rows import ModelRow


@dataclass(frozen=True)
class HeldModel:
    """A model and its preprocessing; its outputs are the class ids of the warehouse."""

    prepared: PreparedModel
    preprocess: Preprocessing


class HeldModels:
    """Least recently used models leave when the memory budget is spent. Any thread may ask.

    Parameters
    ----------
    device
        Where the models live.
    budget
        Bytes of parameters and buffers; the model asked for last always stays.
    """

    def __init__(self, device: torch.device, budget: int) -> None:
        self._device = device
        self._budget = budget
        self._lock = threading.Lock()
        self._models: OrderedDict[str, HeldModel] = OrderedDict()

    def __len__(self) -> int:
        return len(self._models)

    def find(self, row: ModelRow) -> HeldModel | None:
        """Return the model of a row of the warehouse if it is held; takes no time."""
        with self._lock:
            held = self._models.get(row.key)
            if held is not None:
                self._models.move_to_end(row.key)
            return held

    def load(self, row: ModelRow, classes: ClassTable, example: Image) -> HeldModel:
        """Load the model of a row of the warehouse and keep it; takes seconds.

        Parameters
        ----------
        row
            Names the model and the weights that its predictions were made with.
        classes
            The class table of the warehouse.
        example
            An image, mode ``"RGB"``; it serves to find the layer to explain.

        Raises
        ------
        UserError
            If it cannot be loaded, or has other weights now. Nothing is remembered of it: the next call tries again.
        """
        held = _loaded(row, classes, example, self._device)
        with self._lock:
            self._models[row.key] = held
            while len(self._models) > 1 and sum(m.prepared.nbytes for m in self._models.values()) > self._budget:
                self._models.popitem(last=False)
        return held


def _loaded(row: ModelRow, classes: ClassTable, example: Image, device: torch.device) -> HeldModel:
    try:
        loaded = resolve(row.model).load()
        _check_weights(loaded, row)
        order = match_outputs(classes, loaded.outputs, loaded.class_names, loaded.class_wnids)
        images = loaded.preprocess.batch(loaded.preprocess.pixels(example)[None])
        prepared = PreparedModel(loaded.module, images, outputs=order, device=device, channels_last=True, fold=True)
        with suppress(UserError):  # without a layer there are still methods that need none
            prepared.layer  # noqa: B018 - found now, so that no request pays for it
    except UserError as error:
        raise UserError(f"{row.model} cannot be explained: {error}") from error
    except Exception as error:
        # A provider and a user's module may raise anything.
        raise UserError(f"{row.model} cannot be explained: {type(error).__name__}: {error}") from error
    return HeldModel(prepared, loaded.preprocess)


def _check_weights(loaded: LoadedModel, row: ModelRow) -> None:
    if state_sha256(loaded.module) != row.weights_sha256:
        raise UserError("its weights are not those of its predictions; run `vacpanel etl` with it again.")
