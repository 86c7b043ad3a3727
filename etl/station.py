"""Where units of work are computed: one per process, with its decoder and the models that it keeps ready."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etl.decode import Decoder, ShardPixels, example_of
from etl.heap import freed_memory_kept
from etl.job import fingerprint_of
from etl.models import LoadedModel, ModelError, resolve
from etl.predict import Runner, default_batch_size, write_unit
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from etl.preprocess import Preprocessing
    from etl.registry import Shard
    from warehouse.parts import PartStore

MODEL_BUDGET = 4 << 30
"""Bytes of parameters that are held in memory at once."""


@dataclass(frozen=True)
class Assignment:
    """A model, as far as whoever runs it has to know; small, and the same on every machine.

    Attributes
    ----------
    name
        Canonical, such as ``"torchvision:resnet50"``.
    key
        Scope of its parts.
    fingerprint
        Of weights and preprocessing, see :func:`etl.job.fingerprint_of`.
    order, last_layer
        See :class:`etl.predict.Runner`.
    precision
        A key of :data:`etl.predict.PRECISIONS`.
    batch_size
        Images per forward pass; None leaves it to where it runs.
    pixels
        Number of pixels of one input.
    nbytes
        Memory of its parameters and buffers.
    """

    name: str
    key: str
    fingerprint: str
    order: tuple[int, ...] | None
    last_layer: str | None
    precision: str
    batch_size: int | None
    pixels: int
    nbytes: int


@dataclass(frozen=True)
class Unit:
    """What is computed, and redone, as a whole: some models over one shard.

    Attributes
    ----------
    shard, models
        What to run on what.
    classes
        Number of classes of the class table.
    later
        Preprocessing of the models whose turn comes after these, and who will find the pixels; empty if none are kept.
    """

    shard: Shard
    models: tuple[Assignment, ...]
    classes: int
    later: tuple[Preprocessing, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of one model over one shard.

    Attributes
    ----------
    key
        The model's.
    predictions
        Number of predictions made; none where they were there.
    seconds
        Time of the forward passes and of the decoding that they waited for.
    failure
        Why the model was given up; empty if it was not.
    """

    key: str
    predictions: int
    seconds: float
    failure: str = ""


class Station:
    """Decodes images and runs models over them, one model at a time; the next unit is decoded meanwhile.

    Safe to use from several threads: what they decode at the same time waits for the device.

    Parameters
    ----------
    store
        Takes the parts.
    device
        Where models run.
    stopped
        Asked before each model; true leaves out the rest of the unit.
    """

    def __init__(self, store: PartStore, device: torch.device, stopped: Callable[[], bool] = lambda: False) -> None:
        self._decoder = Decoder(store, pinned=device.type == "cuda")
        self._device = device
        self._store = store
        self._stopped = stopped
        self._lock = threading.Lock()  # of the device and of what follows
        self._runners: dict[str, tuple[Runner, ExitStack, int]] = {}
        self._free_since = 0.0
        self._abort = threading.Event()
        self._memory = ExitStack()
        if device.type == "cpu":
            self._memory.enter_context(freed_memory_kept(one_heap=True))

    def abort(self) -> None:
        """End what is being computed after the current forward pass, with :class:`etl.predict.Aborted`."""
        self._abort.set()

    def close(self) -> None:
        """Let go of models and images."""
        self.drop()
        self._decoder.close()
        self._memory.close()

    def hold(self, model: Assignment, loaded: LoadedModel) -> None:
        """Bring a model that is at hand to the device.

        Raises
        ------
        ModelError
            If the device has not enough memory for it.
        """
        with self._lock:
            self._hold(model, loaded)

    def drop(self) -> None:
        """Let go of all models."""
        with self._lock:
            while self._runners:
                self._drop_oldest()

    def compute(self, unit: Unit) -> list[Outcome]:
        """Compute what is missing of a unit.

        Returns
        -------
        list of Outcome
            One for each model; those that were left out lack.

        Raises
        ------
        WarehouseError
            If a part cannot be written, as on a full disk.
        """
        started = time.perf_counter()
        kinds: dict[str, Preprocessing] = {}
        outcomes: list[Outcome] = []
        for model in unit.models:
            try:
                kinds[model.key] = self._preprocessing(model)
            except UserError as error:
                outcomes.append(Outcome(model.key, 0, 0.0, str(error)))
        # What comes later is made of the same decoded files.
        wanted = {kind.fingerprint(): kind for kind in (*kinds.values(), *unit.later)}
        decoded = self._decoder.decode(unit.shard, wanted, keep=bool(unit.later))
        predicted = []
        with self._lock:
            started = max(started, self._free_since)
            for model in unit.models:
                if self._stopped():
                    break
                if model.key not in kinds:
                    continue
                images = decoded[kinds[model.key].fingerprint()]
                try:
                    answer = self._predict(unit, model, images)
                except UserError as error:
                    outcomes.append(Outcome(model.key, 0, 0.0, str(error)))
                else:
                    predicted.append((model.key, answer, time.perf_counter() - started))
                started = self._free_since = time.perf_counter()
        # Written while the device works on the next unit.
        for key, answer, seconds in predicted:
            if answer is not None:
                write_unit(self._store, key, unit.shard.name, *answer, unit.classes)
            outcomes.append(Outcome(key, 0 if answer is None else len(answer[1]), seconds))
        return outcomes

    def latency_ms(self, model: Assignment, shards: list[Shard]) -> float:
        """Measure the time of one image's forward pass, in milliseconds, see :func:`etl.cost.latency_ms`."""
        with self._lock:
            runner = self._runner(model)
            return runner.latency_ms(example_of(shards, runner.preprocess))

    def _predict(
        self, unit: Unit, model: Assignment, images: ShardPixels | ModelError
    ) -> tuple[ShardPixels, NDArray[np.float32], NDArray[np.float32]] | None:
        """Run a model over decoded images, unless somebody else has done it since it was planned."""
        if not isinstance(images, ShardPixels):
            raise images
        if self._store.exists("predictions", model.key, unit.shard.name):
            return None
        return (images, *self._runner(model).predict(images.pixels))

    def _preprocessing(self, model: Assignment) -> Preprocessing:
        entry = self._runners.get(model.key)
        if entry is not None:  # without waiting for the device
            return entry[0].preprocess
        with self._lock:
            return self._runner(model).preprocess

    def _runner(self, model: Assignment) -> Runner:
        if model.key in self._runners:
            self._runners[model.key] = self._runners.pop(model.key)  # the youngest
        else:
            self._hold(model, self._load(model))
        return self._runners[model.key][0]

    def _load(self, model: Assignment) -> LoadedModel:
        resolved = resolve(model.name)
        try:
            loaded = resolved.load()
        except UserError:
            raise
        except Exception as error:
            raise ModelError(f"it cannot be loaded: {type(error).__name__}: {error}") from error
        if fingerprint_of(resolved, loaded) != model.fingerprint:
            raise ModelError("its weights or its preprocessing are not those that the run began with")
        return loaded

    def _hold(self, model: Assignment, loaded: LoadedModel) -> None:
        while self._runners and model.nbytes + sum(entry[2] for entry in self._runners.values()) > MODEL_BUDGET:
            self._drop_oldest()
        stack = ExitStack()
        batch_size = model.batch_size or default_batch_size(self._device, model.pixels)
        runner = Runner(
            loaded, model.order, model.last_layer, self._device, model.precision, batch_size, self._abort.is_set
        )
        stack.enter_context(runner)
        self._runners[model.key] = runner, stack, model.nbytes

    def _drop_oldest(self) -> None:
        self._runners.pop(next(iter(self._runners)))[1].close()
