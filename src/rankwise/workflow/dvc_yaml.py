"""dvc.yaml, printed from Snakemake's job graph.

The rules are the one description of the workflow. dvc.yaml is compiled from the jobs that they give for
these parameters, so that DVC runs what Snakemake runs. This leans on Snakemake's internals, hence its
exact pin in pyproject.toml and the tests that hold both engines side by side.
"""

import io
import logging
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rankwise.errors import RankwiseError
from rankwise.params.runs import RefinedRun
from rankwise.params.study import Params
from rankwise.validation.params import load_params
from rankwise.workflow.dvc_fold import Job, Stage, flow_map, fold, unfold
from rankwise.workflow.fingerprints import CODE, fingerprint_file
from rankwise.workflow.imports import PACKAGE
from rankwise.workflow.rules import RULES, SECTIONS, relative

PLOTTED = ("perplexity", "zero_shot_average")
IN_GIT = {"evaluate": {"scores"}, "allocate": {"allocation"}, "report": {"summary"}}
"""Rule → its outputs that Git tracks, for a reviewer to see in a diff."""
METRICS = {("evaluate", "scores")}
HEADER = "# printed from workflow/rules by 'rankwise sync': edit the rules, or params.yaml\n"
CUT = "python -m rankwise params --params params.yaml --out data/params --dvc dvc.yaml"
FINGERPRINT = "python -m rankwise code --params params.yaml --out data/code"


def print_dvc_yaml() -> str:
    """Return dvc.yaml for the study in the working directory."""
    params = load_params(Path("params.yaml"))
    jobs = [_job(job, params) for job in _jobs()]
    stages = _first_stages()
    for _, same in groupby(jobs, key=lambda job: job.rule):
        stages |= fold(list(same))
    whole = {
        "stages": stages,
        "plots": [_plot("data/report/summary.json", y) for y in PLOTTED],
    }
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 140
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.ignore_aliases = lambda _: True
    stream = io.StringIO()
    yaml.dump(whole, stream)
    return HEADER + stream.getvalue()


def read_stages(path: Path) -> dict[str, Stage]:
    """Return every stage of a dvc.yaml by the name that DVC gives it, templates resolved."""
    try:
        stages = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
    except (YAMLError, KeyError, TypeError) as error:
        raise RankwiseError(
            f"{path} is not as rankwise prints it; print it again: rankwise sync"
        ) from error
    return dict(unfold(stages))


def outputs_of(stage: Stage) -> list[str]:
    """Return the paths that a stage writes, metrics among them."""
    listed = [*stage.get("outs", []), *stage.get("metrics", [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in listed]


def _plot(table: str, y: str) -> dict[str, Any]:
    """Return a plot of DVC: a column of the table of runs against the share that they keep."""
    axes = {"x": {table: "keep_reached"}, "y": {table: y}}
    return {f"{y} by keep": flow_map({"template": "scatter", **axes, "title": f"{y} by keep"})}


def _first_stages() -> dict[str, Stage]:
    """Return the stages that write fingerprints and sections, and stop DVC when the graph is another one.

    Their outputs persist: DVC then leaves them in place, with their times, and never takes them from its
    run cache, which would hand out old files without looking at the graph. Fingerprints are a stage
    only where the package lies inside the study; elsewhere ``rankwise sync`` refreshes them.
    """
    stages = {}
    if PACKAGE.is_relative_to(Path.cwd()):
        inside = [] if RULES.is_relative_to(PACKAGE) else [relative(RULES)]
        stages["code"] = {
            "cmd": FINGERPRINT,
            "deps": ["params.yaml", relative(PACKAGE), *inside],
            "outs": [{str(CODE): flow_map({"cache": False, "persist": True})}],
        }
    stages["params"] = {
        "cmd": CUT,
        "deps": ["Snakefile", fingerprint_file("params")],
        "params": [
            {"params.yaml": None}
        ],  # every key, so that `dvc status` names the one that changed
        "outs": [{str(SECTIONS): flow_map({"persist": True})}],
    }
    return stages


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
        return sorted(jobs, key=lambda job: (order.index(job.rule.name), _natural(_axes(job))))


def _axes(job: Any) -> str:
    return "-".join(job.wildcards_dict.values())


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts group_2 before group_10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)]


def _job(job: Any, params: Params) -> Job:
    """Return one job as a stage of DVC.

    What it reads of params.yaml is a section file, so that ``dvc status`` names the section that changed.
    """
    axes = dict(job.wildcards_dict)
    inputs = list(dict.fromkeys(str(path) for path in job.input))
    folders = [path for path in inputs if Path(path).is_dir()]
    inputs = [p for p in inputs if not any(p.startswith(f"{folder}/") for folder in folders)]
    stage: Stage = {
        "cmd": " ".join(job.shellcmd.split()),
        "deps": inputs,
        "outs": [],
        "metrics": [],
    }
    for path in dict.fromkeys(str(path) for path in job.output):
        name = next(name for name in job.output.keys() if path in _listed(job.output[name]))  # noqa: SIM118
        kind = "metrics" if (job.rule.name, name) in METRICS else "outs"
        options = {"cache": False} if name in IN_GIT.get(job.rule.name, ()) else {}
        options |= {"persist": True} if job.rule.name == "track" else {}
        stage[kind].append({path: flow_map(options)} if options else path)
    return Job(job.rule.name, axes, _facts(axes, params), {k: v for k, v in stage.items() if v})


def _listed(value: Any) -> list[str]:
    return [str(value)] if isinstance(value, str) else [str(path) for path in value]


def _facts(axes: dict[str, str], params: Params) -> dict[str, str]:
    """Return what the names of a job's files are made of besides its wildcards: its run's choices."""
    name = axes.get("run")
    run = params.built().get(name or "") or params.runs.get(name or "")
    if run is None:
        return {}
    if isinstance(run, RefinedRun):
        return {
            "of": run.of,
            "refine": run.refine,
            "refine_method": params.method("refine", run.refine),
        }
    return {
        "decompose": run.decompose,
        "allocate": run.allocate,
        "allocate_method": params.method("allocate", run.allocate),
        "origin": getattr(run, "origin", "dense"),
    }
