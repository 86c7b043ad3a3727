"""Explanations and the ETL on a GPU: ``python -m benchmarks.gpu [explain peers bytes etl] [--device cpu --quick]``.

Everything is warm: models on the device, kernels chosen. Weights are random, images are noise but for the ETL's JPEGs;
neither changes what there is to compute. "As torch comes" lets convolutions round factors to TF32, "full float32" does
not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision

import etl
from benchmarks.etl import image_folder
from benchmarks.explain.subjects import LAYERS
from benchmarks.timing import machine
from etl.explain import Context, load_method, parameters_of
from etl.explain.postprocess import degenerate, normalise
from etl.explain.prepared import PreparedModel
from etl.models import resolve
from etl.predict import PRECISIONS, default_batch_size, float32_math

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

SECTIONS = ("explain", "peers", "bytes", "etl")
THIRTEEN = (
    *("alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "resnet152", "densenet121", "squeezenet1_1"),
    *("mobilenet_v2", "shufflenet_v2_x1_0", "efficientnet_b0", "mnasnet1_0", "resnext50_32x4d"),
)
ETL_MODELS = ("resnet50", "mobilenet_v2", "efficientnet_b0", "alexnet")
QUICK = ("squeezenet1_1", "mobilenet_v2")


def network(name: str) -> nn.Module:
    """Make a classifier of torchvision with random weights."""
    torch.manual_seed(0)
    given = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, **given).eval()


def prepare(name: str, device: torch.device) -> PreparedModel:
    """Prepare a model as the service does and keep it on the device, its layer found."""
    prepared = PreparedModel(
        network(name), torch.rand(1, 3, 224, 224), LAYERS.get(name), device=device, channels_last=True, fold=True
    )
    assert prepared.layer
    return prepared


def answer(prepared: PreparedModel, images: Tensor, name: str, **values: object) -> np.ndarray:
    """Explain images that lie in the computer's memory and bring the maps there, as `etl.explain.computer` does."""
    method = load_method(name)
    with prepared.session(restore_random=False):
        batch = prepared.images(images.to(prepared.device))
        found = method.attribute(prepared, batch, None, parameters_of(method, values), Context())
        assert found.logits is not None
        torch.softmax(found.logits.float(), dim=1).max(dim=1)
        low: np.ndarray = normalise(found.maps).cpu().numpy()
        degenerate(found.maps)
    return low


def seconds(call: Callable[[], object], device: torch.device, most: int = 20, budget: float = 4.0) -> float:
    """Median seconds of a call, after two that do not count."""
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < most + 2 and (len(times) < 3 or time.perf_counter() - started < budget):
        if device.type == "cuda":
            torch.cuda.synchronize()
        before = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return float(np.median(times[2:]))


def row(*cells: object) -> None:
    """Print a row of a table at once."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def explain(options: argparse.Namespace, device: torch.device) -> None:
    names = QUICK if options.quick else THIRTEEN
    one, many = torch.rand(1, 3, 224, 224), torch.rand(4 if options.quick else 64, 3, 224, 224)
    models = {name: prepare(name, device) for name in names}
    big = models[names[-1] if options.quick else "resnet50"]
    iterations = 3 if options.quick else 100
    channels = 8 if options.quick else None

    def all_models() -> None:
        for prepared in models.values():
            answer(prepared, one, "grad-cam")

    print(f"\n{len(names)} models; the others with {names[-1] if options.quick else 'resnet50'}")
    row("", "as torch comes", "full float32", "bar")
    row("---", "---", "---", "---")
    steady = {"iterations": iterations, "early_stop": False}
    for title, call, bar in (
        (f"Grad-CAM of {len(names)} models on one image, ms", all_models, "150"),
        ("Score-CAM, one image, ms", partial(answer, big, one, "score-cam", channels=channels), "500"),
        (
            "Score-CAM in bfloat16, one image, ms",
            partial(answer, big, one, "score-cam", channels=channels, precision="bfloat16"),
            "",
        ),
        (f"BBMP, {iterations} iterations, ms", partial(answer, big, one, "bbmp", **steady), "1500"),
        ("Smooth Grad-CAM++, ms", partial(answer, big, one, "smooth-grad-cam++"), ""),
    ):
        cells = []
        for tf32 in (True, False):
            with _math(device, tf32):
                cells.append(f"{1000 * seconds(call, device):.1f}")
        row(title, *cells, bar)
    cells = []
    for tf32 in (True, False):
        with _math(device, tf32):
            cells.append(f"{len(many) / seconds(partial(answer, big, many, 'grad-cam'), device):,.0f}")
    row(f"Grad-CAM in batches of {len(many)}, images/s", *cells, "3,000")
    bare = big.images(many.to(device))
    cells = []
    for tf32 in (True, False):
        with _math(device, tf32), torch.inference_mode():
            cells.append(f"{len(many) / seconds(partial(big.module, bare), device):,.0f}")
    row("bare forward passes of the same, images/s", *cells, "")


def peers(options: argparse.Namespace, device: torch.device) -> None:
    from pytorch_grad_cam import ScoreCAM, score_cam

    score_cam.tqdm.tqdm = lambda steps: steps
    name = QUICK[0] if options.quick else "resnet50"
    prepared, module = prepare(name, device), network(name).to(device)
    layer = module.get_submodule(LAYERS.get(name, "features"))
    peer, one = ScoreCAM(module, [layer]), torch.rand(1, 3, 224, 224)
    on_device = one.to(device)
    print(f"\nScore-CAM of {name}, one image: seconds of pytorch-grad-cam, of ours, and how many times faster (bar 5)")
    for tf32 in (True, False):
        with _math(device, tf32):
            theirs = seconds(lambda: peer(input_tensor=on_device, targets=None), device, most=3, budget=10)
            ours = seconds(partial(answer, prepared, one, "score-cam"), device, most=5)
        print(
            f"{'as torch comes' if tf32 else 'full float32':15} {theirs:7.3f} {ours:7.3f} {theirs / ours:6.1f}",
            flush=True,
        )


def copied(options: argparse.Namespace, device: torch.device) -> None:
    from torch.profiler import ProfilerActivity, profile

    prepared, one = prepare(QUICK[0] if options.quick else "resnet50", device), torch.rand(1, 3, 224, 224)
    for name in ("grad-cam", "score-cam"):
        answer(prepared, one, name)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            low = answer(prepared, one, name)
        with tempfile.TemporaryDirectory() as folder:
            seen.export_chrome_trace(f"{folder}/trace.json")
            events = json.loads(Path(folder, "trace.json").read_text(encoding="utf-8"))["traceEvents"]
        sizes = [event["args"]["bytes"] for event in events if event.get("name", "").startswith("Memcpy DtoH")]
        print(
            f"{name}: {sum(sizes)} bytes left the device in {len(sizes)} copies, the largest {max(sizes, default=0)}; "
            f"a map has {low.nbytes} ({low.shape[1]} x {low.shape[2]} float32), a full one {4 * 224 * 224}",
            flush=True,
        )


def run_etl(options: argparse.Namespace, device: torch.device) -> None:
    names, count = (QUICK, 32) if options.quick else (ETL_MODELS, options.images)
    precisions = ("float32", "bfloat16") if options.quick else ("float32", "tf32", "bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = image_folder(root, count, None)
        known = {}
        for name in names:
            torch.save(network(name).state_dict(), root / f"{name}.pth")
            known[name] = f"torchvision:{name}@{root / name}.pth"
        models = {name: resolve(where).load() for name, where in known.items()}
        print(f"\nETL of {count} JPEGs (500 x 375): images/s, and the share of the time that bare forward passes take")
        row("", *precisions)
        row("---", *["---"] * len(precisions))
        spent: dict[str, list[float]] = {precision: [] for precision in precisions}
        for name, where in [*known.items(), ("all together", list(known.values()))]:
            cells = []
            for precision in precisions:
                asked = where if isinstance(where, list) else [where]
                out = root / f"{name}-{precision}".replace(" ", "-")
                started = time.perf_counter()
                report = etl.run(
                    images, asked, out, precision=precision, device=str(device), image_layout=False, progress=False
                )
                took = time.perf_counter() - started
                if report.failed:
                    raise RuntimeError(str(report.failed))
                if isinstance(where, str):
                    spent[precision].append(_forwards(models[name].module, count, precision, device))
                    bare = spent[precision][-1]
                else:
                    bare = sum(spent[precision])
                cells.append(
                    f"{len(asked) * count / took:,.0f}, {bare / took:.0%} (bare {len(asked) * count / bare:,.0f})"
                )
            row(name, *cells)


def _forwards(module: nn.Module, count: int, precision: str, device: torch.device) -> float:
    """Seconds of bare forward passes over so many images at hand on the device."""
    dtype = PRECISIONS[precision]
    module = module.to(device, dtype=dtype, memory_format=torch.channels_last)
    batch = min(count, default_batch_size(device, 224 * 224))
    x = torch.rand(batch, 3, 224, 224, device=device).to(dtype=dtype, memory_format=torch.channels_last)

    def passes() -> None:
        for start in range(0, count, batch):
            module(x[: min(batch, count - start)])

    with torch.inference_mode(), _math(device, precision == "tf32"):
        return seconds(passes, device, most=3)


def _math(device: torch.device, tf32: bool):  # noqa: ANN202
    return float32_math(device, tf32=tf32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=4096, help="of the ETL")
    parser.add_argument("--quick", action="store_true", help="small enough to see on a CPU that it runs")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = torch.device(options.device)
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU"
    print(f"{gpu}; {machine('torch', 'torchvision')}", flush=True)
    failed = []
    calls = {"explain": explain, "peers": peers, "bytes": copied, "etl": run_etl}
    for section in options.sections or SECTIONS:
        started = time.perf_counter()
        try:
            calls[section](options, device)
        except Exception:  # noqa: BLE001 - time on a GPU is dear: the other tables are worth having
            traceback.print_exc()
            failed.append(section)
        print(f"({section}: {time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
