"""Images x models -> warehouse.

The unit of work is one model over one shard of images. A unit is done when its part ``predictions`` exists, so a run
does what is missing and nothing else, whatever stopped the one before.
"""

from __future__ import annotations

import time
import warnings
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from etl.class_csv import read_class_csv
from etl.classes import ClassTable, from_names
from etl.datasets import Dataset, OpenOptions, open_dataset
from etl.devices import choose_device
from etl.jobs import JobQueue, Settings
from etl.models import ResolvedModel, resolve
from etl.predict import PRECISIONS
from etl.registry import EVERY_MODEL, Registry, Shard
from etl.report import Listener, Reporter, RunReport
from etl.runs import RunRecord, command_line, interruptible
from etl.work import Worker
from etl.workplace import workplace
from warehouse.errors import UserError, VacpanelError, WarehouseError
from warehouse.folder import Folder
from warehouse.parts import DerivedStore, PartStore
from warehouse.publish import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


def run(
    images: str | Path,
    models: str | Sequence[str],
    warehouse: str | Path,
    classes: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    precision: str = "auto",
    cluster: str | None = None,
    parts: str | None = None,
    group_size: int | None = None,
    shard_size: int | None = None,
    image_layout: bool = True,
    publish_every: float = 3.0,
    progress: bool | Listener = True,
) -> RunReport:
    """Run classifiers over images and write a warehouse; do only what is missing.

    Parameters
    ----------
    images
        A folder of class folders, or ``"provider:argument"``.
    models
        Names such as ``"torchvision:resnet50"``, as a list or separated by commas.
    warehouse
        Folder of the warehouse; made if it does not exist.
    classes
        CSV file with the class table, see :func:`etl.class_csv.read_class_csv`. By default that of the warehouse, else
        ImageNet-1k for WordNet folders, else the class names of a model that fit, else the folder names.
    limit
        Take in only so many images, spread evenly over the classes.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:0"``.
    batch_size
        Images per forward pass; chosen by device and image size by default.
    precision
        ``"float32"``; ``"tf32"``, on NVIDIA GPUs, or ``"bfloat16"``, which are faster and change a few predictions;
        ``"auto"`` is float32.
    cluster
        Address of a Dask scheduler whose workers compute, or ``"local:N"`` for N processes of this machine; None
        computes in this process. Workers must see images, weights and the warehouse's parts under the same paths.
    parts
        Where a new warehouse keeps its parts: a path, or a URL that ``fsspec`` understands; in its folder by default.
    group_size
        Models that share each decoded image. By default 1 while the pixels of all images fit into memory, since models
        then appear one by one at no cost, else as many as fit into memory together.
    shard_size
        Images per unit of work; by default 512, and up to 2048 for data sets of hundreds of thousands.
    image_layout
        Whether to lay out the images of each model.
    publish_every
        Least number of seconds between two publications while the run goes on; its end is always published.
    progress
        True shows it on stderr, False is silent; a function is called with each
        :class:`warehouse.progress.Progress` instead.

    Returns
    -------
    RunReport
        What was done; a model that failed is in ``failed`` and does not stop the others.

    Raises
    ------
    warehouse.errors.UserError
        If an argument, the images, the class table or the warehouse is wrong, or no model can be resolved.
    """
    names = [name.strip() for name in (models.split(",") if isinstance(models, str) else models) if name.strip()]
    _check_options(names, precision, limit=limit, batch_size=batch_size, group_size=group_size, shard_size=shard_size)
    table = read_class_csv(classes) if classes is not None else None
    settings = Settings("float32" if precision == "auto" else precision, batch_size, group_size)
    if cluster is None and choose_device(device).type != "cuda" and precision == "tf32":
        raise UserError("The precision tf32 needs an NVIDIA GPU; use float32 or bfloat16.")
    resolved, unknown = _resolve(names)
    folder = Folder(warehouse)
    # Looked at before anything is written, so that a mistyped folder leaves no empty warehouse behind.
    dataset = None if folder.exists() else _open(images, table, resolved)
    folder.create()
    if parts is not None:
        folder.keep_parts_at(parts)
    store = PartStore(folder)
    store.sweep()
    DerivedStore(folder).sweep()
    command = command_line(
        str(images),
        str(warehouse),
        names,
        classes=classes,
        limit=limit,
        precision=precision,
        device=device,
        cluster=cluster,
    )
    record = RunRecord(DerivedStore(folder), command, str(images))
    report = RunReport(record.run_id, failed=unknown)
    started = time.monotonic()
    with ExitStack() as stack:
        # Pillow remarks on oddities of files that it decodes nevertheless.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module="PIL")
        interrupt = stack.enter_context(interruptible())
        listener = progress if callable(progress) else None
        reporter = stack.enter_context(Reporter(folder, record.run_id, progress is True, listener))
        try:
            registry = Registry(folder, store)
            dataset = dataset or _open(images, table or registry.class_table(), resolved, reporter.step)
            registry.claim_classes(dataset.classes)
            reporter.step("listing images")
            added = registry.register(dataset, limit, shard_size)
            shards = registry.shards(dataset.root)
            place = stack.enter_context(workplace(cluster, store, device, lambda: interrupt.requested, reporter.say))
            queue = JobQueue(store, dataset.classes, shards, settings, remembers=cluster is None)
            for model in resolved:
                reporter.step(f"loading {model.canonical}")
                queue.add(model)
            report.failed |= queue.failed
            if added or queue.jobs or report.failed:
                record.write("running")
            worker = Worker(folder, place, dataset.classes, shards, image_layout, publish_every, reporter, interrupt)
            worker.compute(queue, report)
            if not interrupt.requested:
                worker.derive()
            _conclude(report, store, resolved, queue, shards)
            if added or queue.jobs or report.failed:
                record.write(report.status, "; ".join(f"{m}: {why}" for m, why in report.failed.items()) or None)
            publish(folder)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with suppress(WarehouseError):  # the disk may be what failed
                record.write(status, str(error) if isinstance(error, VacpanelError) else repr(error))
            reporter.finish(status)  # who called says why
            raise
        report.seconds = time.monotonic() - started
        reporter.finish(report.status, _summary(report, command))
    return report


def _check_options(names: list[str], precision: str, **numbers: int | None) -> None:
    if not names:
        raise UserError("Name at least one model, such as torchvision:resnet50; see: vacpanel models")
    for option, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"The {option.replace('_', ' ')} must be at least 1, not {value}.")
    if precision != "auto" and precision not in PRECISIONS:
        raise UserError(f"The precision must be auto or one of {', '.join(PRECISIONS)}, not {precision!r}.")


def _resolve(names: list[str]) -> tuple[list[ResolvedModel], dict[str, str]]:
    """Find the models, each once, and the reason by name of those that do not exist."""
    resolved: dict[str, ResolvedModel] = {}
    unknown: dict[str, str] = {}
    for name in names:
        try:
            model = resolve(name)
        except UserError as error:
            unknown[name] = str(error)
        else:
            resolved[model.canonical] = model
    if not resolved:
        raise UserError(" ".join(unknown.values()))
    return list(resolved.values()), unknown


def _open(
    images: str | Path,
    table: ClassTable | None,
    models: list[ResolvedModel],
    progress: Callable[[str, float], None] = lambda _message, _fraction: None,
) -> Dataset:
    def model_classes() -> Iterator[ClassTable]:
        for model in models:
            try:
                loaded = model.load()
            except UserError:
                continue  # reported when its turn comes
            if loaded.class_names is not None:
                yield from_names(loaded.class_names, loaded.class_wnids)

    return open_dataset(images, OpenOptions(table, model_classes, progress))


def _conclude(
    report: RunReport, store: PartStore, models: list[ResolvedModel], queue: JobQueue, shards: list[Shard]
) -> None:
    unfinished = {job.model.canonical for job in queue.jobs if job.missing and not job.failed}
    report.models = [m.canonical for m in models if m.canonical not in unfinished | report.failed.keys()]
    report.images = sum(len(shard) for shard in shards)
    for shard in shards:
        if store.exists("decoded", EVERY_MODEL, shard.name):
            reasons = store.read("decoded", EVERY_MODEL, shard.name)["reason"].to_pylist()
            report.skipped |= {path: why for path, why in zip(shard.paths, reasons, strict=True) if why is not None}
    if unfinished:
        report.status = "interrupted"
    elif report.failed:
        report.status = "finished with errors"


def _summary(report: RunReport, command: str) -> str:
    counts = [(len(report.models), "model", ""), (report.images, "image", ""), (report.computed, "new prediction", "")]
    counts += [(len(report.skipped), "image", " skipped")] if report.skipped else []
    counts += [(len(report.failed), "model", " failed")] if report.failed else []
    text = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}{what}" for n, noun, what in counts)
    text += f", {report.seconds:.1f} s"
    if report.status == "interrupted":
        return f"{text}; interrupted, go on with:\n{command}"
    return text + "."
