"""Stage ``params``: validate params.yaml, cut it into sections, print dvc.yaml from Snakemake's job graph.

The rules are the one description of the workflow. dvc.yaml is compiled from the jobs they give for
these parameters: a stage a job, literal paths and commands, so that DVC runs what Snakemake runs.
This leans on Snakemake's internals, hence its exact pin in pyproject.toml and the tests that hold
both engines side by side.
"""

import io
import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_if_changed
from rankwise.stages.options import OutFile
from rankwise.validation.params import METHODS, cut_sections, effective_sections, load_params
from rankwise.workflow.rules import RULES, SECTIONS, code, methods, relative

PLOTTED = ("perplexity", "zero_shot_average")
HEADER = (
    "# made from workflow/rules by 'python -m rankwise params --dvc dvc.yaml': edit the rules\n"
)


def command(
    params: Annotated[Path, typer.Option("--params", help="The whole params.yaml.")],
    out: OutFile,
    dvc: Annotated[
        Path | None, typer.Option("--dvc", help="Bring this dvc.yaml up to date.")
    ] = None,
) -> None:
    """Validate params.yaml, cut it into sections, bring dvc.yaml up to date."""
    cut_sections(load_params(params), out)
    if dvc is None or not write_if_changed(dvc, dvc_yaml()):
        return
    if "DVC_STAGE" in os.environ:  # DVC is running the stages of the old file
        raise RankwiseError(f"{dvc} was brought up to date with {params}; run 'dvc repro' again")


def dvc_yaml() -> str:
    """Return dvc.yaml for the study in the working directory."""
    given = YAML(typ="safe").load(Path("params.yaml").read_text(encoding="utf-8"))
    jobs = _jobs()
    stages = {"params": _first_stage()} | {_name(job): _stage(job, given) for job in jobs}
    whole = {
        "stages": stages,
        "metrics": _outputs(jobs, "scores"),
        "plots": [_plot(table, y) for table in _outputs(jobs, "summary") for y in PLOTTED],
    }
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 2**16
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _: True
    stream = io.StringIO()
    yaml.dump(whole, stream)
    return HEADER + stream.getvalue()


def _outputs(jobs: list[Any], name: str) -> list[str]:
    """Return the outputs that rules give this name."""
    return [str(job.output[name]) for job in jobs if name in job.output.keys()]  # noqa: SIM118


def _plot(table: str, y: str) -> dict[str, Any]:
    """Return a plot of DVC: a column of the table of runs against the share that they keep."""
    return {
        f"{y} by keep": {
            "template": "scatter",
            "x": {table: "keep_reached"},
            "y": {table: y},
            "title": f"{y} by keep",
        }
    }


def _first_stage() -> dict[str, Any]:
    """Return the stage that cuts the sections, and stops DVC when the graph is another one.

    Its outputs persist: DVC then leaves them in place, with their times, and never takes them from
    its run cache, which would hand out old files without looking at the graph. Defaults stand in
    the methods' code, so every method is a dependency.
    """
    files = sorted(
        f"{SECTIONS}/{name}.json" for name in effective_sections(load_params(Path("params.yaml")))
    )
    modules = ["stages.params", *(m for kind in METHODS for m in methods(kind))]
    rules = sorted(relative(path) for path in RULES.glob("*.smk"))
    return {
        "cmd": "python -m rankwise params --params params.yaml --out data/params --dvc dvc.yaml",
        "deps": ["params.yaml", "Snakefile", *rules, *code(*modules)],
        "outs": [{path: {"persist": True}} for path in files],
    }


def _jobs() -> list[Any]:
    """Return every job of the complete graph, in the order of the rules, then by name."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    logging.getLogger("snakemake.logging").propagate = False
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(ResourceSettings(cores=1), snakefile=Path("Snakefile"))
        graph = workflow.dag(DAGSettings(forceall=True)).workflow_api._workflow
        graph._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        graph._build_dag()
        order = [rule.name for rule in graph.rules]
        jobs = [job for job in graph.dag.jobs if job.rule.shellcmd]
        return sorted(jobs, key=lambda job: (order.index(job.rule.name), _natural(_name(job))))


def _name(job: Any) -> str:
    """Return the name of a job's stage, such as ``decompose-svd-group_0``."""
    words = [
        f"{axis}_{value}" if value.isdigit() else value
        for axis, value in job.wildcards_dict.items()
    ]
    return "-".join([job.rule.name, *words])


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts group_2 before group_10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)]


def _stage(job: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return one job as a stage of DVC.

    A section is a dependency twice: as a file, which is what the job reads, and as a parameter of
    params.yaml where it stands there, so that ``dvc status`` and ``dvc params diff`` can name it.
    """
    inputs = list(dict.fromkeys(str(path) for path in job.input))
    folders = [path for path in inputs if Path(path).is_dir()]
    inputs = [
        path for path in inputs if not any(path.startswith(f"{folder}/") for folder in folders)
    ]
    cut = [Path(path).stem for path in inputs if Path(path).parent == SECTIONS]
    outputs = list(dict.fromkeys(str(path) for path in job.output))
    stage = {
        "cmd": " ".join(job.shellcmd.split()),
        "deps": inputs,
        "params": [name for name in cut if _stands(name, given)],
        "outs": [
            {path: {"persist": True}} if job.rule.name == "track" else path for path in outputs
        ],
    }
    return {key: value for key, value in stage.items() if value}


def _stands(section: str, given: Any) -> bool:
    """Tell whether a section is written out in params.yaml, rather than all defaults."""
    for key in section.split("."):
        if not isinstance(given, dict) or key not in given:
            return False
        given = given[key]
    return True
