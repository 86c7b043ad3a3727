"""The command line: ``vacpanel demo | etl | explain | report | serve | models | methods | publish | info``."""

from __future__ import annotations

import math
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vacpanel import __version__
from vacpanel.words import count, short_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from etl.report import RunReport
    from vacpanel.explain_files import Explained
    from warehouse.store import Warehouse

BAD_INPUT = 2
INTERRUPTED = 130

# A pipe has no width; eighty columns would fold the model names.
_out = Console(width=None if sys.stdout.isatty() else 160)


class _Commands(click.Group):
    """Lists the commands in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Compare and understand many image classifiers."""


@cli.command()
@click.option("--warehouse", type=click.Path(path_type=Path), default="demo-warehouse", show_default=True)
@click.option("--images-per-class", type=click.IntRange(1, 1000), default=25, show_default=True)
@click.option("--no-serve", is_flag=True, help="Build the warehouse and stop.")
@click.option("--port", type=int, default=5006, show_default=True)
@click.option("--show", is_flag=True, help="Open a browser.")
def demo(warehouse: Path, images_per_class: int, no_serve: bool, port: int, show: bool) -> None:
    """Build the embedded demo (13 models, 64 classes) unless it is there, and serve it.

    The dashboard opens at once and fills model by model while the ETL runs beside it.
    """
    from vacpanel import demo as steps

    if no_serve:
        _report(steps.build(warehouse, images_per_class))
        return
    steps.prepare(warehouse)
    with steps.building_beside(warehouse, images_per_class):
        _serve([str(warehouse)], port, ["--show"] if show else [])


@cli.command()
@click.argument("images")
@click.option("--warehouse", required=True, type=click.Path(path_type=Path), help="The folder to write; it is made.")
@click.option("--models", required=True, help="Comma-separated names, see `vacpanel models`.")
@click.option("--classes", type=click.Path(path_type=Path), help="CSV: class_id,wnid,class_name,root_class.")
@click.option("--limit", type=click.IntRange(1), help="Use only so many images, spread evenly over the classes.")
@click.option("--batch-size", type=click.IntRange(1), help="Images a forward pass.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "tf32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="tf32 (NVIDIA GPUs only) and bfloat16 are faster and change a few predictions.",
)
@click.option("--cluster", help="Compute on a Dask cluster (tcp://host:8786), or in N processes here (local:N).")
@click.option("--parts", help="Where a new warehouse keeps its parts: a path or URL (s3://...).  [default: inside it]")
@click.option("--group-size", type=click.IntRange(1), hidden=True)
@click.option("--shard-size", type=click.IntRange(1), hidden=True)
def etl(images: str, warehouse: Path, models: str, **options: Any) -> None:
    """Run MODELS over the folder IMAGES and write the warehouse; run again, it does only what is missing.

    A model that fails is reported and the others go on; the exit status is then 1.
    """
    from etl import run
    from etl.examples import explain_example

    report = run(images, models=_names(models), warehouse=warehouse, **options)
    if report.status == "interrupted":
        sys.exit(INTERRUPTED)
    if report.computed:
        click.echo("Explaining one image with every method, as an example.", err=True)
        explain_example(warehouse, options["device"])
    _report(report)


@cli.command()
@click.option("--warehouse", required=True, type=click.Path(path_type=Path))
@click.option("--models", required=True, help="Comma-separated names.")
@click.option("--image", required=True, help="An image id of the warehouse, or the path of an image file.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=["grad-cam"],
    show_default=True,
    help="May be given several times or list several, separated by commas; `all`: the five of the paper.",
)
@click.option("--target", help="A class id or class name; default: the class each model predicts.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of the region.")
@click.option("--levels", default="0.25,0.5,0.75", show_default=True, help="Attention at which contour lines run.")
@click.option(
    "--similarity",
    type=click.Choice(["l1", "mse", "ssim", "hash"]),
    default="l1",
    show_default=True,
    help="How the models' maps are compared.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the files.")
def explain(
    warehouse: Path,
    models: str,
    image: str,
    methods: Sequence[str],
    target: str | None,
    threshold: float,
    levels: str,
    similarity: str,
    out: Path,
) -> None:
    """Write one heatmap with contour lines (PNG) and one map (.npy) a model and method, and print the numbers.

    The folder `details` in --out holds the masked pictures, the colour histograms of the regions, a contact sheet, all
    numbers as CSV and, for several models, how alike their maps are. A model that fails is a red line below the table;
    the exit status is 1 if all failed.
    """
    from vacpanel.explain_command import Question, explain_image
    from vacpanel.explain_files import Look

    look = Look(threshold, _levels(levels), similarity)
    asked = [name for text in methods for name in _names(text)]
    with _progress("Explaining") as progress:
        results = explain_image(warehouse, Question(_names(models), image, asked, target, look), out, progress)
    _print_explained(results, threshold)
    if all(result.error for result in results):
        sys.exit(1)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The HTML file to write.")
@click.option("--link", help="What to compare: the address of a dashboard, or its query (?models=...&images=...).")
@click.option(
    "--address", default="http://localhost:5006/app", show_default=True, help="Where the dashboard is served."
)
def report(directory: Path, out: Path, link: str | None, address: str) -> None:
    """Write a comparison as one HTML file that opens anywhere: heatmaps inside, and a link that selects the same.

    Without --link the three most accurate models explain an image of the class on which models differ most. Maps that
    are there are not computed again.
    """
    from vacpanel.write_report import write_report

    with _progress("Explaining") as progress:
        notices, failed = write_report(directory, out, link, address, progress)
    for notice in notices:
        click.echo(notice, err=True)
    click.echo(f"{out}: open it in any browser; it needs no server and no network.")
    if failed:
        sys.exit(1)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--port", type=int, default=5006, show_default=True)
@click.option("--map-cache", help="Bytes that the stored heatmaps may take, such as 500M.  [default: 4G]")
@click.option(
    "--explain-on",
    help="Where to explain: shared (a process beside the server's), local (inside it) or tcp://scheduler:8786."
    "  [default: shared]",
)
@click.argument("panel_flags", nargs=-1, type=click.UNPROCESSED)
def serve(
    directory: Path, port: int, map_cache: str | None, explain_on: str | None, panel_flags: Sequence[str]
) -> None:
    """Serve the dashboard of the warehouse DIRECTORY; any flag of `panel serve` may follow."""
    import warehouse
    from warehouse.maps import LIMIT_VARIABLE, limit_from

    warehouse.open(directory).close()
    if map_cache is not None:
        limit_from(map_cache)
        os.environ[LIMIT_VARIABLE] = map_cache  # worker processes inherit it
    _serve([str(directory)], port, list(panel_flags), explain_on)


@cli.command()
def models() -> None:
    """List the models that can be named, by provider."""
    from etl.plugins import load, plugins

    rows = []
    for name in plugins("vacpanel.models"):
        provider = load("vacpanel.models", name)()
        reason = provider.available()
        known = [] if reason else provider.names()
        shown = ", ".join(known[:12]) + (f", … {len(known)} in all" if len(known) > 12 else "")
        rows.append([f"{name}:NAME", provider.description, reason or shown])
    _print_table(["named as", "where it comes from", "names"], rows)


@cli.command()
def methods() -> None:
    """List the explanation methods."""
    from etl.plugins import load, plugins

    rows = []
    for name in plugins("vacpanel.methods"):
        method = load("vacpanel.methods", name)()
        rows.append([name, method.title, method.description, method.paper])
    _print_table(["method", "title", "what it does and costs", "paper"], rows)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
def publish(directory: Path) -> None:
    """Make everything computed so far visible to SQL and dashboards."""
    from warehouse.publish import publish as publish_now

    generation = publish_now(directory)
    state = f"in {generation.seconds:.2f} s" if generation.changed else "was up to date"
    click.echo(f"Generation {generation.number} {state}: {directory / 'warehouse.duckdb'}")


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="List the relations that SQL can ask, with what each column means.")
def info(directory: Path, schema: bool) -> None:
    """Show what the warehouse DIRECTORY holds."""
    import warehouse

    with warehouse.open(directory) as opened:
        if schema:
            _print_schema(opened)
            return
        summary = opened.summary()
        click.echo(
            f"{count(summary.models, 'model')}, {count(summary.classes, 'class')}, {count(summary.images, 'image')}, "
            f"{summary.skipped} skipped, generation {summary.generation}"
        )
        table = opened.models()
        _print_table(
            ["model", "top-1", "top-5", "images", "parameters", "FLOPs", "latency", "input"],
            [
                [
                    str(table["model"][i]),
                    f"{table['top1'][i]:.1%}",
                    f"{table['top5'][i]:.1%}",
                    f"{table['images'][i]:,}",
                    short_number(table["parameters"][i]),
                    short_number(table["flops"][i]),
                    f"{table['latency_ms'][i]:.1f} ms",
                    f"{table['input_size'][i]} px",
                ]
                for i in range(len(table["model"]))
            ],
        )


def _print_schema(opened: Warehouse) -> None:
    """Print a heading, a sentence and a table of columns for each relation."""
    from warehouse.catalogue import relations

    for relation in relations(opened):
        heading = f"[bold cyan]{_plain(relation.name)}[/bold cyan]  {_plain(relation.comment)}"
        _out.print(heading, highlight=False, soft_wrap=True)
        _print_table(["column", "type", "meaning"], [[c.name, c.type, c.comment] for c in relation.columns])
        _out.print()


def _levels(text: str) -> list[float]:
    """Return the levels of contour lines that a comma-separated text lists; none if it is empty."""
    try:
        levels = [float(level) for level in _names(text)]
    except ValueError:
        levels = [-1.0]
    if not all(0 < level < 1 for level in levels):
        raise click.BadParameter(f"{text!r} is no list of numbers between 0 and 1.", param_hint="--levels")
    return sorted(set(levels))


@contextmanager
def _progress(said: str) -> Iterator[Callable[[float], None]]:
    """Show a bar on a terminal while something goes on; yields what moves it to a share in [0, 1]."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(said, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _print_explained(results: Sequence[Explained], threshold: float) -> None:
    """Print a table with a row a map, and below it a red line for each model that failed."""
    header = ["model", "method", "target", "predicted", "confidence", "ROI area", "entropy", "total variation"]
    rows = [
        [
            result.model,
            result.method,
            result.target,
            result.predicted,
            f"{result.confidence:.1%}",
            f"{result.area(threshold):.3f}",
            *(f"{result.measures.get(name, math.nan):.3f}" for name in ("entropy", "total_variation")),
            f"{result.seconds:.2f}",
            ", ".join(result.flags),
        ]
        for result in results
        if not result.error
    ]
    if rows:
        _print_table([*header, "seconds", "note"], rows)
    methods = list(dict.fromkeys(result.method for result in results))
    failures: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.error:
            failures.setdefault((result.model, result.error), []).append(result.method)
    for (model, error), failed in failures.items():
        said = "" if error.startswith(model) else f"{model}: "
        where = "" if failed == methods else f" ({', '.join(failed)})"
        _out.print(f"[red]{_plain(said + error + where)}[/red]", soft_wrap=True, highlight=False)


def _report(report: RunReport) -> None:
    """Say which models failed and why; the exit status says so too."""
    for model, reason in report.failed.items():
        click.echo(f"{model}: {reason}", err=True)
    if report.failed:
        sys.exit(1)


def _serve(directories: list[str], port: int, panel_flags: list[str], explain_on: str | None = None) -> None:
    """Run ``panel serve`` on the app with the media routes."""
    from vacpanel.serving import serve_app

    serve_app(directories, port, panel_flags, explain_on)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for i, name in enumerate(header):
        table.add_column(name, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    _out.print(table)


def _plain(cell: str) -> str:
    """Return the cell with markup and control characters made harmless: names are not ours."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "�" for c in cell))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends with one sentence on stderr and status 2."""
    from etl.plugins import INSTALL_TORCH, TORCH
    from warehouse.errors import UserError

    # Waiting OpenMP threads should sleep, not spin: an ETL shares its cores with a dashboard. Read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        cli.main(args=None if arguments is None else list(arguments), prog_name="vacpanel", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        click.echo(f"vacpanel: {error.format_message()}", err=True)
        sys.exit(BAD_INPUT)
    except UserError as error:
        click.echo(f"vacpanel: {error}", err=True)
        sys.exit(BAD_INPUT)
    except ModuleNotFoundError as error:
        if error.name not in TORCH:
            raise
        click.echo(f"vacpanel: This needs PyTorch; run: {INSTALL_TORCH}", err=True)
        sys.exit(BAD_INPUT)
