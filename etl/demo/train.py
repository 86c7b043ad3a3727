"""Train the demo's networks: ``python -m etl.demo.train --model resnet18``.

One recipe for all: the same images, AdamW with a one-cycle schedule, label smoothing and horizontal flips. The first
epochs run on shrunken images (see ``SIZES``), which halves the work. There are five epochs, three for the four
costliest networks, and the learning rate depends on the family. All of it was chosen on training and validation
images; the test images are looked at once, at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from etl.demo.architectures import ARCHITECTURES, build
from etl.demo.dataset import arrays
from etl.demo.zoo import WEIGHTS, dump, load, preprocess
from warehouse import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

EPOCHS = 5
EPOCHS_OF_COSTLY = {"densenet121": 3, "densenet169": 3, "resnet101": 3, "resnet152": 3}
IMAGES_PER_CLASS = 500
VALIDATION_PER_CLASS = 20
TEST_PER_CLASS = 25
BATCH = 64
SIZES = ((0.4, 48), (0.75, 64), (1.0, 96))
"""Side of the training images in pixels, up to each share of the steps: small images first save half of the work."""

# AlexNet's fully connected layers see positions, which do not carry over from one image size to another.
_ALWAYS_FULL_SIZE = ("alexnet",)
_PEAK_RATES = {"alexnet": 2e-3, "squeezenet1_0": 5e-3, "squeezenet1_1": 5e-3}
_PEAK_RATE = 1e-2
_WEIGHT_DECAY = 0.02
_LABEL_SMOOTHING = 0.05


def train(
    name: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
) -> tuple[nn.Module, float]:
    """Train one network from scratch.

    Parameters
    ----------
    name
        One of :data:`etl.demo.architectures.ARCHITECTURES`.
    images, labels
        uint8 (N, 96, 96, 3) and int64 (N,).
    epochs
        Passes over the images; by default ``EPOCHS``, fewer for the networks in ``EPOCHS_OF_COSTLY``.
    seed
        Fixes the initial weights, the order of the images and the flips.
    device
        Any device of torch.
    precision
        ``"bfloat16"`` (autocast), ``"float32"`` or ``"auto"``: see :func:`resolve_precision`.

    Returns
    -------
    model : torch.nn.Module
        In evaluation mode.
    loss : float
        Mean training loss (with label smoothing) of the last epoch.

    Raises
    ------
    ValueError
        If there is no such architecture, or not one batch of images.
    """
    if len(images) < BATCH:
        raise ValueError(f"training takes at least {BATCH} images, one batch; there are {len(images)}")
    autocast = torch.autocast(
        torch.device(device).type, torch.bfloat16, enabled=resolve_precision(name, precision) == "bfloat16"
    )
    torch.manual_seed(seed)
    model = build(name).to(memory_format=torch.channels_last).to(device).train()
    epochs = EPOCHS_OF_COSTLY.get(name, EPOCHS) if epochs is None else epochs
    steps = epochs * (len(images) // BATCH)
    rate = _PEAK_RATES.get(name, _PEAK_RATE)
    optimiser = torch.optim.AdamW(_parameter_groups(model), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.2)
    started, step, mean = time.perf_counter(), 0, float("nan")
    for epoch in range(epochs):
        losses: list[Tensor] = []
        for batch, target in _batches(images, labels, np.random.default_rng((seed, epoch))):
            x = preprocess(batch.to(device)).contiguous(memory_format=torch.channels_last)
            size = next(side for share, side in SIZES if step < share * steps)
            if size != x.shape[-1] and name not in _ALWAYS_FULL_SIZE:
                x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
            with autocast:
                logits = model(x)
            loss = F.cross_entropy(logits.float(), target.to(device), label_smoothing=_LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
            step += 1
        mean = torch.stack(losses).mean().item()
        _say(f"{name}: epoch {epoch + 1} of {epochs}, loss {mean:.3f}, {time.perf_counter() - started:.0f} s")
    return model.eval(), mean


def resolve_precision(name: str, precision: str) -> str:
    """Return ``precision``, or for ``"auto"`` the faster one on a CPU: bfloat16 slows depthwise convolutions down."""
    if precision != "auto":
        return precision
    return "float32" if name.startswith(("mobilenet", "shufflenet")) else "bfloat16"


def evaluate(model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Measure top-1 and top-5 accuracy of a network on its own device, as fractions.

    Parameters
    ----------
    model
        In evaluation mode.
    images, labels
        uint8 (N, 96, 96, 3) and int64 (N,).
    """
    device = next(model.parameters()).device
    first, among_five = 0, 0
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.array(images[start : start + BATCH])).permute(0, 3, 1, 2)
            top = model(preprocess(batch.to(device))).topk(5).indices.cpu()
            found = top == torch.from_numpy(labels[start : start + BATCH])[:, None]
            first += int(found[:, 0].sum())
            among_five += int(found.sum())
    return first / len(images), among_five / len(images)


def _batches(
    images: NDArray[np.uint8], labels: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches in random order, half of the images mirrored."""
    order = rng.permutation(len(images))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        rows = np.sort(order[start : start + BATCH])
        x = torch.from_numpy(images[rows]).permute(0, 3, 1, 2)
        mirrored = torch.from_numpy(rng.random(BATCH) < 0.5)
        yield torch.where(mirrored[:, None, None, None], x.flip(3), x), torch.from_numpy(labels[rows])


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weight decay for kernels and matrices, none for biases and normalisation."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _write(path: Path, content: bytes) -> None:
    with files.temporary_path(path) as partial:
        partial.write_bytes(content)
        files.replace(partial, path)


def _record(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Merge one network's entry into ``training.json``, keeping the order of the architectures."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[name] = entry
    ordered = {n: known[n] for n in ARCHITECTURES if n in known}
    _write(path, (json.dumps(ordered, indent=2) + "\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m etl.demo.train", description="Train the demo's networks.")
    parser.add_argument("--model", nargs="+", default=["all"], metavar="NAME", help="architectures, or: all")
    parser.add_argument("--epochs", type=int, default=None, help="by default 5, or 3 for the four costliest")
    parser.add_argument("--images-per-class", type=int, default=IMAGES_PER_CLASS, help="training images of a class")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:0, ...")
    parser.add_argument("--precision", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/demo-weights"),
        help=f"folder for the weights and training.json; the shipped ones are in {WEIGHTS} (default: %(default)s)",
    )
    parser.add_argument("--cache", type=Path, default=None, help="folder for the drawn images (about 28 kB each)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-test", action="store_true", help="leave the test images alone (while tuning)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate and write the networks named on the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    names = list(ARCHITECTURES) if options.model == ["all"] else options.model
    for name in names:
        if name not in ARCHITECTURES:
            parser.error(f"there is no demo architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    if (options.epochs is not None and options.epochs < 1) or options.images_per_class < 1 or options.threads < 1:
        parser.error("--epochs, --images-per-class and --threads take numbers from 1")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)

    _say(f"Drawing {64 * options.images_per_class} training images")
    images, labels = arrays("train", options.images_per_class, options.cache, options.threads)
    validation = arrays("validation", VALIDATION_PER_CLASS, options.cache, options.threads)
    test = arrays("test", TEST_PER_CLASS, options.cache, options.threads)
    for name in names:
        started = time.perf_counter()
        model, loss = train(name, images, labels, options.epochs, options.seed, device, options.precision)
        seconds = time.perf_counter() - started
        _write(options.out / f"{name}.safetensors", dump(model))
        model = load(name, options.out).to(device)
        entry = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "epochs": options.epochs or EPOCHS_OF_COSTLY.get(name, EPOCHS),
            "train_images": len(images),
            "seconds": round(seconds, 1),
            "train_loss": round(loss, 4),
            "validation_top1": evaluate(model, *validation)[0],
        }
        _say(f"{name}: validation top-1 {entry['validation_top1']:.3f}")
        if not options.no_test:
            entry["test_top1"], entry["test_top5"] = evaluate(model, *test)
            _say(f"{name}: test top-1 {entry['test_top1']:.3f}, top-5 {entry['test_top5']:.3f}")
        precision = resolve_precision(name, options.precision)
        entry |= {"seed": options.seed, "precision": precision, "device": device, "torch": torch.__version__}
        _record(options.out / "training.json", name, entry)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
