"""Validation of the complete params.yaml before any stage runs, and its split into section files."""

from pathlib import Path
from typing import Any

from rankwise.allocate import allocators
from rankwise.decompose import decomposers
from rankwise.errors import RankwiseError, nearest
from rankwise.files.atomic import to_json, write_if_changed
from rankwise.files.yamls import read_yaml
from rankwise.methods.registry import Registry
from rankwise.params.names import DENSE
from rankwise.params.renamed import find_old_names
from rankwise.params.runs import RefinedRun
from rankwise.params.sample import FURTHER
from rankwise.params.section import validate
from rankwise.params.study import NAME, Params
from rankwise.params.sweeps import expand_sweeps
from rankwise.refine import refiners
from rankwise.validation import statistics
from rankwise.validation.feasibility import find_impossible_targets
from rankwise.validation.runs import Methods, check_run

METHODS: dict[str, Registry[Any]] = {
    "decompose": decomposers,
    "allocate": allocators,
    "refine": refiners,
}
"""Section that holds one section per method → registry of its methods."""
NAMED_BY = {
    "decompose": "decompose",
    "allocate": "allocate",
    "steps_allocate": "allocate",
    "refine": "refine",
}
"""Key of a run → section in which its value must be."""


def load_params(path: Path) -> Params:
    """Read and validate params.yaml; every mistake is one line of one RankwiseError."""
    try:
        content = read_yaml(path)
    except FileNotFoundError as error:
        raise RankwiseError(
            f"{path} does not exist; make a study with: rankwise init DIR"
        ) from error
    if not isinstance(content, dict):
        raise RankwiseError(
            f"{path} must hold sections (prepare, sample, runs, …), found {type(content).__name__}"
        )
    if old_names := list(find_old_names(content)):
        raise RankwiseError("\n".join(f"{path.name}: {sentence}" for sentence in old_names))
    if "runs" in content:
        content["runs"] = expand_sweeps(content["runs"], path.name)
    params = validate(Params, content, path.name, ())
    problems = list(_cross_checks(params))
    if problems:
        raise RankwiseError("\n".join(f"{path.name}: {problem}" for problem in problems))
    return params


def effective_sections(params: Params) -> dict[str, Any]:
    """Return every section that a rule may name, by its path, defaults filled in.

    ``runs`` is a list, because the order of the runs is the order of the report's rows.
    """
    sections: dict[str, Any] = {}
    for part in ("model", "corpora", "tasks"):
        sections[f"prepare.{part}"] = params.model_dump()["prepare"][part]
    for role, sample in params.sample.by_role().items():
        sections[f"sample.{role}"] = sample.model_dump()
    for kind in METHODS:
        for name in getattr(params, kind):
            values = instantiate_method(params, kind, name).model_dump(mode="json")
            sections[f"{kind}.{name}"] = {"method": params.method(kind, name), **values}
    for name, run in {**params.built(), **params.refinements()}.items():
        sections[f"runs.{name}"] = run.model_dump()
    sections["runs"] = [{"name": name, **run.model_dump()} for name, run in params.runs.items()]
    for name in (
        "covariance",
        "fisher",
        "build",
        "evaluate",
        "speed",
        "report",
        "track",
        "compute",
    ):
        sections[name] = getattr(params, name).model_dump()
    sections["covariance"]["moments"] = params.covariance.moments or str(
        statistics.required_statistics(params)
    )
    return sections


def cut_sections(params: Params, folder: Path) -> None:
    """Write every section to ``folder/<section>.json`` if it changed; delete files of removed sections."""
    sections = effective_sections(params)
    for name, value in sections.items():
        write_if_changed(folder / f"{name}.json", to_json(value))
    for path in folder.glob("*.json"):
        if path.stem not in sections and path.name != "checked.json":
            path.unlink(missing_ok=True)


def instantiate_method(params: Params, kind: str, name: str) -> Any:
    """Return the method of a section of decompose, allocate or refine, with its defaults filled in."""
    return METHODS[kind][params.method(kind, name)](**_fields(getattr(params, kind)[name]))


def _fields(section: dict[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a method's section."""
    return {key: value for key, value in (section or {}).items() if key != "method"}


def _cross_checks(params: Params) -> list[str]:
    methods, problems = _methods(params)
    for name, run in params.runs.items():
        if name == DENSE or not NAME.fullmatch(name):
            problems.append(
                f"runs.{name}: a run is named by letters, digits, '_' and single '-', and not '{DENSE}' (the model itself)"
            )
        for key, section in NAMED_BY.items():
            reference, available = getattr(run, key, None), getattr(params, section)
            if reference is not None and reference not in available:
                problems.append(
                    f"runs.{name}.{key}: '{reference}' has no section {section}.{reference}; {nearest(reference, available)}"
                )
        if isinstance(run, RefinedRun):
            problems += _refinement_checks(params, name, run, methods["refine"])
        else:
            problems += check_run(name, run, methods)
    problems += _sample_checks(params)
    problems += statistics.check_statistics(params, methods["decompose"])
    problems += _search_checks(params, methods)
    return problems or find_impossible_targets(params, methods["decompose"])


def _methods(params: Params) -> tuple[Methods, list[str]]:
    """Return the methods of all valid sections, and the problems of the others."""
    methods: Methods = {section: {} for section in METHODS}
    problems: list[str] = []
    for section, registry in METHODS.items():
        for name, fields in getattr(params, section).items():
            method = params.method(section, name)
            if not NAME.fullmatch(name):
                problems.append(
                    f"{section}.{name}: a section is named by letters, digits, '_' and single '-'"
                )
            if method not in registry:
                problems.append(
                    f"{section}.{name}: no such method as '{method}'; {nearest(method, registry)}"
                )
                continue
            try:
                instance = validate(registry[method], _fields(fields), "", (section, name))
                methods[section][name] = instance
            except RankwiseError as error:
                problems.append(str(error).removeprefix(": "))
    return methods, problems


def _search_checks(params: Params, methods: Methods) -> list[str]:
    """Return the problems of searches that choose more sequences than the search text has."""
    available = params.sample.search.sequences
    return [
        f"allocate.{name}.validation: {method.validation} sequences asked, sample.search.sequences is {available}; "
        "lower the one or raise the other"
        for name, method in methods["allocate"].items()
        if available is not None and (getattr(method, "validation", None) or 0) > available
    ]


def _refinement_checks(
    params: Params, name: str, run: RefinedRun, methods: dict[str, Any]
) -> list[str]:
    if run.of not in params.runs:
        return [f"runs.{name}.of: there is no run '{run.of}'; {nearest(run.of, params.runs)}"]
    names = list(params.runs)
    if names.index(run.of) >= names.index(name):
        return [f"runs.{name}.of: '{run.of}' must come before the run that refines it"]
    sequences = params.sample.calibration.sequences
    if run.refine in methods and sequences is not None:
        try:
            methods[run.refine].split(sequences)
        except RankwiseError as error:
            return [f"runs.{name}.refine: {error}"]
    return []


def _sample_checks(params: Params) -> list[str]:
    problems = []
    roles = params.sample
    for role, sample in roles.by_role().items():
        tested = role.startswith("test")
        where = f"sample.{role}".replace(FURTHER, "further.")
        if role.startswith(FURTHER) and not NAME.fullmatch(role):
            problems.append(f"{where}: a text is named by letters, digits, '_' and single '-'")
        if tested and sample.corpus in (roles.calibration.corpus, roles.search.corpus):
            problems.append(
                f"{where}.corpus: '{sample.corpus}' is also calibrated or searched on; "
                "test text may never steer a choice, give it a corpus of its own"
            )
        if sample.corpus not in params.prepare.corpora:
            hint = nearest(sample.corpus, params.prepare.corpora)
            problems.append(f"{where}.corpus: '{sample.corpus}' is not in prepare.corpora; {hint}")
        if not tested and sample.sequences is None:
            problems.append(f"{where}.sequences: null is for test text only; give a number")
    shards = params.covariance.shards
    if params.covariance.pools % shards:
        problems.append(
            f"covariance.shards: {shards} does not divide covariance.pools = {params.covariance.pools}; "
            "give a divisor of it"
        )
    pools, sequences = params.covariance.pools, roles.calibration.sequences
    if sequences is not None and sequences % pools:
        below = sequences // pools * pools
        problems.append(
            f"covariance.pools: {pools} does not divide sample.calibration.sequences = {sequences}; "
            f"use {below or pools} or {below + pools} sequences"
        )
    return problems
