"""Commands around a study, a folder with its own params.yaml: make one, run it, look at it."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rankwise import engines
from rankwise.errors import RankwiseError, nearest
from rankwise.files import to_json, write_text
from rankwise.forkserver.launch import fork_server
from rankwise.locks import holding
from rankwise.pairs import NOISE, Difference

PRESETS = Path(__file__).parent / "presets"
SUMMARY = Path("data/report/summary.json")
PAGE = Path("data/report/index.html")
STORE = Path("data/mlflow/mlflow.db")
CUT = ("params", "--params", "params.yaml", "--out", "data/params", "--dvc", "dvc.yaml")
"""The command that brings the sections and dvc.yaml up to date."""
IGNORED = "data/\nlogs/\n.snakemake/\n"
DVC_IGNORED = (
    "# Snakemake's mark in a folder that it made, no part of the artifact\n.snakemake_timestamp\n"
)
DVC_SETTINGS = {"core.analytics": "false", "core.check_update": "false", "cache.type": "copy"}
"""No network; and outputs stay as they were made when DVC records them: Snakemake goes by their times."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder of the study.")],
    preset: Annotated[str, typer.Option(help="params.yaml to start from.")] = "embedded",
    model: Annotated[
        str | None, typer.Option(help="Pinned model in place of the preset's, such as llama2-13b.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key; repeat.")
    ] = None,
) -> None:
    """Make the folder of a new study; local paths in its params.yaml are relative to that folder.

    Example: rankwise init study --preset local --set prepare.model.source=/models/mine
    """
    from ruamel.yaml import YAML

    from rankwise.validation import load_params
    from rankwise.workflow import PROFILE, SNAKEFILE

    given = _shipped(PRESETS, "preset", preset).read_text(encoding="utf-8")
    changes = settings or []
    if model is not None:
        pinned = YAML(typ="safe").load(_shipped(PRESETS / "models", "model", model))
        changes = [f"prepare.model={json.dumps(pinned)}", *changes]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RankwiseError(f"{folder} is not an empty folder; name a new one")
    params = folder / "params.yaml"
    write_text(params, with_settings(given, changes))
    try:
        load_params(params)
    except RankwiseError:
        params.unlink()
        raise
    write_text(folder / "Snakefile", SNAKEFILE.read_text(encoding="utf-8"))
    write_text(folder / "profiles/default/config.yaml", PROFILE.read_text(encoding="utf-8"))
    write_text(folder / ".gitignore", IGNORED)
    write_text(folder / ".dvcignore", DVC_IGNORED)
    _init_dvc(folder)
    printed = engines.call(sys.executable, "-m", "rankwise", *CUT, folder=folder)
    typer.echo(f"Made {folder} from preset {preset}.")
    if printed.returncode:
        typer.echo(f"{printed.stderr.strip()}\nEdit {params} first.")
    typer.echo(f"Next: cd {shlex.quote(str(folder))} && rankwise run")


def _shipped(folder: Path, option: str, name: str) -> Path:
    """Return a file that comes with the package, by its name without the ending."""
    there = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in there:
        raise RankwiseError(f"--{option}: there is no {option} '{name}'; {nearest(name, there)}")
    return there[name]


def run(
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores to use; default: those of the profile.")
    ] = None,
    engine: Annotated[
        Literal["snakemake", "dvc"], typer.Option(help="Who runs the jobs.")
    ] = "snakemake",
    force: Annotated[bool, typer.Option(help="Run every job, due or not.")] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Let every job import the libraries by itself: slower.")
    ] = False,
) -> None:
    """Run what the study lacks, record it with DVC, print the table."""
    for needed in ("params.yaml", "Snakefile"):
        if not Path(needed).is_file():
            raise RankwiseError(
                f"there is no {needed} in {Path.cwd()}; make a study with: rankwise init DIR"
            )
    with holding("rankwise run") as lock:
        params = Path("params.yaml").read_bytes()
        due, recorded = engines.ask_both()
        if (
            due and recorded and not force
        ):  # every byte is as after a complete run, only times differ
            engines.settle_times()
        elif due or force:
            with _started(cold, lock) as started:
                _run_all(engine, cores, force, started)
        if not recorded or force:
            _cut()
            if lost := engines.missing():  # Snakemake misses nothing that no job is due to read
                recorded = _make_again(lost, cores, cold, lock)
        if not force and (recorded or not due):
            typer.echo(
                "Nothing to be done: every result is up to date with parameters, inputs and code."
            )
        if not recorded or force:
            _record(params)
        print_table()


def compare(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or 'dense'.")],
    reference: Annotated[str, typer.Argument(metavar="RUN", help="What it is set against.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print in what two runs of the study differ: parameters, ranks, scores with paired intervals."""
    from rankwise.compare import comparison
    from rankwise.report.comparison import print_comparison

    found = comparison(run, reference)
    if as_json:
        typer.echo(to_json(found.model_dump(mode="json")), nl=False)
    else:
        print_comparison(found)


def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Bring MLflow up to date with the files and open it on 127.0.0.1."""
    from ruamel.yaml import YAML

    if not SUMMARY.is_file():
        raise RankwiseError(
            f"there is no {SUMMARY} in {Path.cwd()}; run the study first: rankwise run"
        )
    stages = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    command = shlex.split(stages["track"]["cmd"])[1:]
    aside = STORE.with_name("tracked.json")  # the artifact itself stays as the engines know it
    command[command.index("--out") + 1] = str(aside)
    filled = engines.call(sys.executable, *command)
    if filled.returncode:
        raise RankwiseError(f"MLflow could not be filled: {filled.stderr.strip()}")
    if "MLFLOW_TRACKING_URI" in os.environ:
        address = re.sub(r"//[^/@]*@", "//…@", os.environ["MLFLOW_TRACKING_URI"])  # no password
        typer.echo(f"MLflow is filled; it is served at {address}")
        return
    typer.echo(f"MLflow: http://127.0.0.1:{port} (stop it with Ctrl-C)")
    options = [
        "--backend-store-uri",
        f"sqlite:///{STORE}",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    server = [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"]
    raise typer.Exit(subprocess.call(server, env=engines.environment() | quiet))


def with_settings(text: str, settings: list[str]) -> str:
    """Return a params.yaml with some keys changed and its comments kept."""
    import io

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.width = 2**16
    params = yaml.load(text)
    for setting in settings:
        path, equals, value = setting.partition("=")
        keys = path.split(".")
        if not equals or not all(keys):
            raise RankwiseError(
                f"--set: '{setting}' is not KEY=VALUE, such as runs.svd-80.keep=0.7"
            )
        node = params
        for key in keys[:-1]:
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
            if not isinstance(node, dict):
                raise RankwiseError(f"--set: {path}: '{key}' is a value, not a section")
        try:
            node[keys[-1]] = YAML(typ="safe").load(value)
        except YAMLError as error:
            raise RankwiseError(f"--set: '{value}' is not a YAML value") from error
    if not settings:
        return text
    stream = io.StringIO()
    yaml.dump(params, stream)
    return stream.getvalue()


def print_table() -> None:
    """Print the rows of the summary, and where the page is."""
    from rich.console import Console
    from rich.table import Table

    from rankwise.records import Summary

    titles = ("asked", "keep reached", "perplexity", "zero-shot average", "parameters")
    table = Table("run", box=None, header_style="bold")
    for title in (*titles, "checkpoint MB", "tokens/s"):
        table.add_column(title, justify="right", no_wrap=True)
    summary = Summary.load(SUMMARY)
    for row in summary.rows:
        against = row.against_dense
        text, tasks = (against.losses["test"], against.average) if against else (None, None)
        table.add_row(
            row.run,
            row.asked.short(),
            _number(row.keep_reached, ".4f"),
            _number(row.perplexity, ".2f") + _mark(text),
            _number(row.zero_shot_average, ".1%") + _mark(tasks),
            _number(row.parameters, ",d"),
            _number(row.checkpoint_bytes / 1e6, ".2f"),
            _number(row.tokens_per_second, ",.0f"),
        )
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    if len(summary.rows) > 1:
        console.print(
            f"{NOISE}: cannot be told from the dense model ({summary.confidence:.0%} paired interval)",
            highlight=False,
        )
    for sentence in summary.gaps.values():
        console.print(sentence, highlight=False)
    console.print(f"Report: {PAGE}", highlight=False)


def _computes_on_cpu() -> bool:
    """A GPU's driver cannot be used in a fork once it was asked anything; jobs there are long anyway."""
    from rankwise.validation import load_params

    return load_params(Path("params.yaml")).compute.device == "cpu"


@contextmanager
def _started(cold: bool, lock: int) -> Iterator[engines.Engine]:
    """Yield how to start an engine: with a fork server beside it where its jobs can use one."""
    alone = cold or not _computes_on_cpu()
    server = nullcontext(dict[str, str]()) if alone else fork_server(engines.environment())
    with server as variables:
        yield engines.Engine(variables, (lock,))


def _run_all(engine: str, cores: int | None, force: bool, started: engines.Engine) -> None:
    if engine == "snakemake":
        return engines.run_snakemake(started, cores, force)
    _cut()
    engines.run_dvc(started, force)
    return engines.settle_times()


def _make_again(lost: list[str], cores: int | None, cold: bool, lock: int) -> bool:
    """Run the jobs of these outputs, and those behind them if the bytes are others; return whether they are not."""
    with _started(cold, lock) as started:
        engines.run_snakemake(started, cores, force=False, targets=lost)
        due, recorded = engines.ask_both()
        if due and recorded:
            engines.settle_times()
        elif due:
            engines.run_snakemake(started, cores, force=False)
    typer.echo(f"Made again: {', '.join(lost)}")
    return recorded


def _record(params: bytes) -> None:
    """Let DVC record what Snakemake made, unless params.yaml was edited while it ran."""
    if Path("params.yaml").read_bytes() != params:
        raise RankwiseError("params.yaml changed while the study ran; run it again")
    done = engines.call(*engines.DVC, "commit", "--force", "--quiet")
    if done.returncode:
        raise RankwiseError(f"DVC could not record the results: {done.stderr.strip()}")


def _cut() -> None:
    from rankwise.stages import params

    params.command(Path("params.yaml"), Path("data/params"), Path("dvc.yaml"))


def _init_dvc(folder: Path) -> None:
    """Make the folder a DVC project, inside a git repository or without one."""
    in_git = (
        engines.call("git", "rev-parse", "--is-inside-work-tree", folder=folder).returncode == 0
    )
    how = "--subdir" if in_git else "--no-scm"
    steps = [("init", "--quiet", how)]
    steps += [("config", key, value) for key, value in DVC_SETTINGS.items()]
    for step in steps:
        done = engines.call(*engines.DVC, *step, folder=folder)
        if done.returncode:
            raise RankwiseError(f"dvc {' '.join(step)} failed: {done.stderr.strip()}")


def _mark(difference: Difference | None) -> str:
    """Return the sign of a difference inside the noise."""
    return NOISE if difference is not None and difference.noise else ""


def _number(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
