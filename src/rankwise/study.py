"""A study, a folder with its own params.yaml: make one, run it; `rankwise.results` looks at it."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from rankwise import engines, results
from rankwise.cluster import HERE, Place, place_of
from rankwise.errors import RankwiseError, nearest
from rankwise.files.atomic import write_text
from rankwise.forkserver.launch import fork_server
from rankwise.locks import holding
from rankwise.planning.command import plan_ahead

PRESETS = Path(__file__).parent / "presets"
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
    from rankwise.workflow import PROFILES, SNAKEFILE

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
    for file in sorted(PROFILES.glob("*/*")):
        there = folder / "profiles" / file.relative_to(PROFILES)
        write_text(there, file.read_text(encoding="utf-8"))
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
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also what by `rankwise plan` does not fit here.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="Where jobs run: a folder of profiles/, such as slurm.")
    ] = None,
) -> None:
    """Run what the study lacks, record it with DVC, print the table.

    Example: rankwise run --profile slurm
    """
    for needed in ("params.yaml", "Snakefile"):
        if not Path(needed).is_file():
            raise RankwiseError(
                f"there is no {needed} in {Path.cwd()}; make a study with: rankwise init DIR"
            )
    if profile and engine == "dvc":
        raise RankwiseError("--profile says how Snakemake runs; leave out --engine dvc")
    with holding("rankwise run") as lock:
        params = Path("params.yaml").read_bytes()
        place = place_of(profile) if profile else HERE
        due, recorded = engines.ask_both()
        if (
            due and recorded and not force
        ):  # every byte is as after a complete run, only times differ
            engines.settle_times()
        elif due or force:
            with _started(cold, lock, place) as started:
                plan_ahead(started, place, anyway=anyway)
                try:
                    _run_all(engine, cores, force, started)
                except typer.Exit as ended:
                    if ended.exit_code < 128:  # not where somebody stopped it
                        _cut()
                        results.draw_what_is_there()
                    raise
        if not recorded or force:
            _cut()
            if lost := engines.missing():  # Snakemake misses nothing that no job is due to read
                with _started(cold, lock, place) as started:
                    recorded = _make_again(lost, cores, started)
        if not force and (recorded or not due):
            typer.echo(
                "Nothing to be done: every result is up to date with parameters, inputs and code."
            )
        if not recorded or force:
            _record(params)
        results.print_table()


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


def _computes_on_cpu() -> bool:
    """A GPU's driver cannot be used in a fork once it was asked anything; jobs there are long anyway."""
    from rankwise.validation import load_params

    return load_params(Path("params.yaml")).compute.device == "cpu"


@contextmanager
def _started(cold: bool, lock: int, place: Place) -> Iterator[engines.Engine]:
    """Yield how to start an engine: with a fork server beside it where its jobs can use one."""
    alone = cold or place.elsewhere or not _computes_on_cpu()
    server = nullcontext(dict[str, str]()) if alone else fork_server(engines.environment())
    with server as variables:
        yield engines.Engine(variables, (lock,), place.options)


def _run_all(engine: str, cores: int | None, force: bool, started: engines.Engine) -> None:
    if engine == "snakemake":
        return engines.run_snakemake(started, cores, force)
    _cut()
    engines.run_dvc(started, force)
    return engines.settle_times()


def _make_again(lost: list[str], cores: int | None, started: engines.Engine) -> bool:
    """Run the jobs of these outputs, and those behind them if the bytes are others; return whether they are not."""
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
