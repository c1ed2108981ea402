"""A study, a folder with its own params.yaml: make one, run it; `rankwise.results` looks at it."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from rankwise.errors import RankwiseError, nearest
from rankwise.files.atomic import write_text
from rankwise.workflow import engines

PRESETS = Path(__file__).parent.parent / "presets"
IGNORED = """\
# Artifacts are DVC's. Git tracks what a reviewer wants to see in a diff: scores, allocations, the report's
# summary, and the fingerprints of the code that made them.
/data/*
!/data/code/
!/data/scores/
!/data/allocate/
/data/allocate/*.trials.jsonl
!/data/report/
/data/report/*
!/data/report/summary.json
/logs/
/dvc_plots/
/.snakemake/
"""
DVC_IGNORED = """\
# Snakemake's mark in a folder that it made, no part of the artifact
.snakemake_timestamp
__pycache__/
"""
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

    from rankwise.validation.params import load_params
    from rankwise.workflow.rules import PROFILES, SNAKEFILE

    given = _shipped_file(PRESETS, "preset", preset).read_text(encoding="utf-8")
    changes = settings or []
    if model is not None:
        pinned = YAML(typ="safe").load(_shipped_file(PRESETS / "models", "model", model))
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
    printed = engines.run_command(sys.executable, "-m", "rankwise", "sync", folder=folder)
    typer.echo(f"Made {folder} from preset {preset}.")
    if printed.returncode:
        typer.echo(f"{printed.stderr.strip()}\nEdit {params} first.")
    typer.echo(f"Next: cd {shlex.quote(str(folder))} && rankwise run")


def _shipped_file(folder: Path, option: str, name: str) -> Path:
    """Return a file that comes with the package, by its name without the ending."""
    there = {path.stem: path for path in folder.glob("*.yaml")}
    if name not in there:
        raise RankwiseError(f"--{option}: there is no {option} '{name}'; {nearest(name, there)}")
    return there[name]


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


def _init_dvc(folder: Path) -> None:
    """Make the folder a DVC project, inside a git repository or without one."""
    in_git = (
        engines.run_command("git", "rev-parse", "--is-inside-work-tree", folder=folder).returncode
        == 0
    )
    how = "--subdir" if in_git else "--no-scm"
    steps = [("init", "--quiet", how)]
    steps += [("config", key, value) for key, value in DVC_SETTINGS.items()]
    for step in steps:
        done = engines.run_command(*engines.DVC, *step, folder=folder)
        if done.returncode:
            raise RankwiseError(f"dvc {' '.join(step)} failed: {done.stderr.strip()}")
