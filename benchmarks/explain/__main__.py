"""Print the tables: ``python -m benchmarks.explain [one-pass smooth score-cam bbmp] [--rounds N] [--photos FOLDER]``.

1.00 is one plain eager float32 forward pass of the same model and batch, timed in the same round; figures are medians
of the rounds' ratios. Peers do the same work in the same rounds.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.explain import peers
from benchmarks.explain.subjects import LITE, MODELS, Subject, correlation, subject
from benchmarks.timing import Alongside, machine, ratio, rounds
from etl.explain import Context, Method, load_method, parameters_of
from etl.explain.bbmp import _Search
from etl.explain.classes import attribute_classes
from etl.explain.one_pass import OnePassMethod, attribute_together
from warehouse.errors import UserError

if TYPE_CHECKING:
    from etl.explain.protocol import Attribution

TABLES = ("one-pass", "smooth", "score-cam", "bbmp")
CHANNELS = 128


def ours(
    what: Subject,
    name: str,
    context: Context | None = None,
    targets: torch.Tensor | None = None,
    **values: object,
) -> Attribution:
    """Explain these classes, or those that are predicted, of the subject's images with its prepared model."""
    method = load_method(name)
    with what.prepared.session():
        return method.attribute(
            what.prepared,
            what.prepared.images(what.images),
            targets,
            parameters_of(method, values),
            context or Context(),
        )


def together(what: Subject) -> None:
    """Grad-CAM and Grad-CAM++ from one pass."""
    methods = [method for name in ("grad-cam", "grad-cam++") if isinstance(method := load_method(name), OnePassMethod)]
    with what.prepared.session():
        attribute_together(methods, what.prepared, what.prepared.images(what.images), None, Context())


def twenty_classes(what: Subject) -> None:
    """Grad-CAM of twenty classes on one image."""
    method: Method = load_method("grad-cam")
    with what.prepared.session():
        targets = torch.arange(20)[None]
        images = what.prepared.images(what.images)
        attribute_classes(method, what.prepared, images, targets, method.Parameters(), Context())


def one_pass(options: argparse.Namespace) -> None:
    print("\nGrad-CAM and Grad-CAM++: forward passes, and how many times faster than the peers")
    print(
        f"{'model':19} {'B':>2} {'forward':>9} {'Grad-CAM':>9} {'++':>6} {'both':>6} {'20 cl.':>6} "
        f"{'jac/ours':>9} {'jac++/ours':>10} {'tc/ours':>8}"
    )
    for name in options.models:
        for batch in options.batch:
            what = subject(name, batch, options.photos)
            calls = {
                "forward": what.forward,
                "grad-cam": lambda what=what: ours(what, "grad-cam"),
                "grad-cam++": lambda what=what: ours(what, "grad-cam++"),
                "both": lambda what=what: together(what),
                "jac": peers.jac(what, "grad-cam"),
                "jac++": peers.jac(what, "grad-cam++"),
                "tc": peers.torch_cam(what, "grad-cam"),
            }
            if batch == 1:
                calls["classes"] = lambda what=what: twenty_classes(what)
            t = rounds(calls, options.rounds)
            classes = f"{ratio(t, 'classes', 'forward'):6.2f}" if batch == 1 else " " * 6
            print(
                f"{name:19} {batch:2} {np.median(t['forward']) * 1000:6.0f} ms {ratio(t, 'grad-cam', 'forward'):9.2f} "
                f"{ratio(t, 'grad-cam++', 'forward'):6.2f} {ratio(t, 'both', 'forward'):6.2f} {classes} "
                f"{ratio(t, 'jac', 'grad-cam'):9.2f} {ratio(t, 'jac++', 'grad-cam++'):10.2f} "
                f"{ratio(t, 'tc', 'grad-cam'):8.2f}",
                flush=True,
            )


def smooth(options: argparse.Namespace) -> None:
    print("\nSmooth Grad-CAM++, n = 8, one image whose class is known (asked: the class is to be found out first)")
    print(f"{'model':19} {'forward':>9} {'maps':>6} {'asked':>6} {'derivatives':>12} {'tc/ours':>8} {'tc/asked':>9}")
    for name in options.models:
        what = subject(name, 1, options.photos)
        known = what.forward().argmax(dim=1)
        explained = partial(ours, what, "smooth-grad-cam++", samples=8)
        calls = {
            "forward": what.forward,
            "maps": partial(explained, targets=known),
            "asked": explained,
            "gradients": partial(explained, targets=known, average="gradients"),
            "tc": peers.torch_cam(what, "smooth-grad-cam++", num_samples=8),
        }
        t = rounds(calls, options.rounds)
        print(
            f"{name:19} {np.median(t['forward']) * 1000:6.0f} ms {ratio(t, 'maps', 'forward'):6.2f} "
            f"{ratio(t, 'asked', 'forward'):6.2f} {ratio(t, 'gradients', 'forward'):12.2f} "
            f"{ratio(t, 'tc', 'maps'):8.2f} {ratio(t, 'tc', 'asked'):9.2f}",
            flush=True,
        )


def score_cam(options: argparse.Namespace) -> None:
    print(f"\nScore-CAM, forward passes per scored channel ({CHANNELS} channels, one image)")
    print(f"{'model':19} {'forward':>9} {'float32':>8} {'bfloat16':>9} {'jac/f32':>8} {'jac/bf16':>9} {'tc/f32':>8}")
    for name in options.models:
        what = subject(name, 1, options.photos)
        passes = {}

        def run(precision: str, what: Subject = what, passes: dict = passes) -> None:
            before = what.prepared.forwards
            ours(what, "score-cam", channels=CHANNELS, precision=precision)
            passes[precision] = what.prepared.forwards - before - 1  # but for the image itself

        calls = {
            "forward": what.forward,
            "cut": lambda what=what: ours(what, "grad-cam"),
            "float32": lambda run=run: run("float32"),
            "bfloat16": lambda run=run: run("bfloat16"),
            "jac": peers.jac_channels(what, CHANNELS),
            "tc": peers.torch_cam_channels(what, CHANNELS),
        }
        t = rounds(calls, max(3, options.rounds // 3))
        each = {key: (t[key] - t["cut"]) / passes[key] for key in passes}
        each |= {key: t[key] / CHANNELS for key in ("jac", "tc")} | {"forward": t["forward"]}
        print(
            f"{name:19} {np.median(t['forward']) * 1000:6.0f} ms {ratio(each, 'float32', 'forward'):8.2f} "
            f"{ratio(each, 'bfloat16', 'forward'):9.2f} "
            f"{ratio(each, 'jac', 'float32'):8.2f} {ratio(each, 'jac', 'bfloat16'):9.2f} "
            f"{ratio(each, 'tc', 'float32'):8.2f}",
            flush=True,
        )
    print(f"\nScore-CAM end to end, {LITE} with its pretrained weights, one image at a time")
    print(
        f"{'image':>5} {'passes':>7} {'exact':>7} {'bfloat16':>9} {'jac/ours':>9} {'tc/ours':>8} "
        f"{'preview':>8} {'r':>7} {'r bf16':>7}"
    )
    whole = subject(LITE, options.images, options.photos)
    for i in range(options.images):
        what = Subject(LITE, whole.module, whole.images[i : i + 1])
        print(f"{i:5d} {_end_to_end(what, options.peers)}", flush=True)


def _end_to_end(what: Subject, with_peers: bool) -> str:
    ours(what, "grad-cam")  # prepares the model
    before = what.prepared.forwards
    clock = Alongside(what.forward)
    previews: list[tuple[float, torch.Tensor]] = []

    def progress(_fraction: float, maps: torch.Tensor | None) -> None:
        if maps is not None and not previews:
            previews.append((clock.units(), maps[0].clone()))
        clock.step()

    exact = ours(what, "score-cam", Context(progress=progress)).maps[0]
    units, passes = clock.units(), what.prepared.forwards - before
    fast_clock = Alongside(what.forward)
    fast = ours(what, "score-cam", Context(progress=lambda *_: fast_clock.step()), precision="bfloat16").maps[0]
    fast_units = fast_clock.units()
    peer = ["-", "-"]
    if with_peers:
        calls = {
            "exact": lambda: ours(what, "score-cam"),
            "jac": peers.jac(what, "score-cam"),
            "tc": peers.torch_cam(what, "score-cam", batch_size=32),
        }
        t = rounds(calls, 3, warm=0)
        peer = [f"{ratio(t, key, 'exact'):.2f}" for key in ("jac", "tc")]
    seen, preview = previews[0] if previews else (float("nan"), exact)
    return (
        f"{passes:7d} {units:7.0f} {fast_units:9.0f} {peer[0]:>9} {peer[1]:>8} {seen:8.0f} "
        f"{correlation(preview, exact):7.4f} {correlation(fast, exact):7.4f}"
    )


def bbmp(options: argparse.Namespace) -> None:
    print("\nBBMP, forward passes per iteration (10 iterations, without the disk), one image")
    print(f"{'model':19} {'forward':>9} {'iteration':>10}")
    method: Method = load_method("bbmp")
    for name in options.models:
        what = subject(name, 1, options.photos)
        parameters = parameters_of(method, {"iterations": 10, "early_stop": False})
        with what.prepared.session():
            images = what.prepared.images(what.images)
            scores = what.prepared.scores(images)
            search = _Search(what.prepared, images, scores.argmax(1), scores)
            start = search.initial(Context())
            search.initial = lambda _context, start=start: start.clone()
            calls = {
                "forward": what.forward,
                "bbmp": lambda search=search, parameters=parameters: search.run(parameters, Context(), 0.0, 1.0),
            }
            t = rounds(calls, max(3, options.rounds // 3))
        print(
            f"{name:19} {np.median(t['forward']) * 1000:6.0f} ms {ratio(t, 'bbmp', 'forward') / 10:10.2f}", flush=True
        )
    print(f"\nBBMP whole, {LITE} with its pretrained weights; objective without jitter, early stop over 300 iterations")
    print(f"{'image':>5} {'forwards':>9} {'iterations':>11} {'objective':>10} {'target left':>12}")
    whole = subject(LITE, options.images, options.photos)
    prepared = whole.prepared
    for i in range(options.images):
        what = Subject(LITE, whole.module, whole.images[i : i + 1])
        what.prepared = prepared
        print(f"{i:5d} {_whole_bbmp(what)}", flush=True)


def _whole_bbmp(what: Subject) -> str:
    clock, steps = Alongside(what.forward), []

    def progress(fraction: float, _maps: torch.Tensor | None) -> None:
        steps.append(fraction)
        clock.step()

    stopped_map = ours(what, "bbmp", Context(progress=progress)).maps
    units = clock.units()
    with what.prepared.session():
        images = what.prepared.images(what.images)
        scores = what.prepared.scores(images)
        search = _Search(what.prepared, images, scores.argmax(1), scores)
        parameters = load_method("bbmp").Parameters()
        masks = [1 - found[:, None] for found in (stopped_map, ours(what, "bbmp", early_stop=False).maps)]
        with torch.no_grad():
            stopped, full = (float(search.objective(mask, parameters)) for mask in masks)
            left = float(search._probability(masks[0]) / search._original)
    return f"{units:9.0f} {len(steps):11d} {stopped / full:10.2f} {left:12.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=TABLES, help="which tables; all by default")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--images", type=int, default=4, help="photos for the end-to-end tables")
    parser.add_argument("--photos", type=Path, help="folder of photos; those of scikit-image by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="without peers end to end")
    options = parser.parse_args()
    unknown = set(options.tables) - set(TABLES)
    if unknown:
        raise UserError(f"There is no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}.")
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    print(f"{machine('torch', 'torchvision', 'grad-cam', 'torchcam')}, {options.threads} threads, 224 px")
    tables = {"one-pass": one_pass, "smooth": smooth, "score-cam": score_cam, "bbmp": bbmp}
    for name in options.tables:
        tables[name](options)


if __name__ == "__main__":
    main()
