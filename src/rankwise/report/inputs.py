"""What went into a study: model, texts and tasks, where each comes from and exactly which bytes it is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankwise.inputs.sources import EMBEDDED, TASK_FOLDERS
from rankwise.records.base import FileHash
from rankwise.records.corpora import CorpusManifest
from rankwise.records.model import ModelManifest
from rankwise.records.tasks import TasksManifest
from rankwise.results.files import InputManifests


@dataclass(frozen=True)
class Input:
    """One thing that went in, as words."""

    title: str
    facts: dict[str, str]
    files: list[FileHash] = field(default_factory=list)
    """What it consists of, where that is more than one file."""


def describe_inputs(manifests: InputManifests, sections: dict[str, Any]) -> list[Input]:
    """Return model, texts and tasks as far as their manifests are given."""
    inputs = []
    if manifests.model is not None:
        inputs.append(_describe_model(manifests.model))
    if manifests.corpora is not None:
        corpora = manifests.corpora.corpora
        inputs += [_describe_text(name, corpus, sections) for name, corpus in corpora.items()]
    if (tasks := manifests.tasks) is not None and tasks.source is not None:
        inputs.append(_describe_tasks(tasks.source, tasks))
    return inputs


def _describe_model(model: ModelManifest) -> Input:
    return Input(
        "Model",
        {
            **_describe_source(model.source, model.revision, ships=model.source == EMBEDDED),
            "architecture": f"{model.architecture}, {model.layers} decoder layers",
            "parameters": f"{model.parameters:,}, loaded and run in {model.dtype}",
        },
        model.files,
    )


def _describe_text(name: str, corpus: CorpusManifest, sections: dict[str, Any]) -> Input:
    ships = corpus.source.startswith(f"{EMBEDDED}/") and corpus.revision is None
    facts = _describe_source(corpus.source, corpus.revision, ships=ships)
    if corpus.file is not None:
        facts["file"] = corpus.file
    if Path(corpus.file or corpus.source).suffix != ".txt":
        facts["field"] = corpus.field
    if corpus.characters is not None:
        facts["characters"] = f"the first {corpus.characters:,}"
    for key, section in sections.items():
        if key.startswith("sample.") and section["corpus"] == name:
            number = "all" if section["sequences"] is None else f"{section['sequences']:,}"
            windows = f"{number} windows of {section['length']} tokens"
            drawn = "in order" if section["sequences"] is None else f"seed {section['seed']}"
            facts[f"for {key.removeprefix('sample.')}"] = f"{windows}, {drawn}"
    return Input(f"Text {name}", facts | {"bytes": f"{corpus.bytes:,}, sha256 {corpus.sha256}"})


def _describe_tasks(source: str, tasks: TasksManifest) -> Input:
    facts = _describe_source(source, None, ships=source in TASK_FOLDERS)
    if tasks.data is not None:
        facts["items"] = tasks.data
    return Input("Zero-shot tasks", facts, [*tasks.files, *tasks.data_files])


def _describe_source(source: str, revision: str | None, *, ships: bool) -> dict[str, str]:
    """Return where something comes from, in words."""
    if revision is not None:
        return {"source": f"{source} on the Hugging Face Hub", "commit": revision}
    return {"source": f"{source} (comes with rankwise)" if ships else f"{source} (a local path)"}
