"""Studies of version 0.1: how they are recognised, and brought to this version."""

import io
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.params.renamed import METHODS, REFERENCES, SECTIONS

SNAKEFILE = Path("Snakefile")
OLD_IMPORT = "from rankwise.workflow import RULES"
"""What a Snakefile of version 0.1 says."""
REFUSAL = (
    "this study was made by rankwise 0.1, whose rules and names were others. Bring it to this version with: "
    "rankwise migrate (texts, models and the names of your runs stay; results are made again by rankwise run)"
)


def is_old_study(folder: Path = Path()) -> bool:
    """Tell whether a folder holds a study of version 0.1."""
    file = folder / SNAKEFILE
    return file.is_file() and OLD_IMPORT in file.read_text(encoding="utf-8", errors="replace")


def refuse_old_study() -> None:
    """Raise RankwiseError that names the command to run if the working directory holds an old study."""
    if is_old_study():
        raise RankwiseError(REFUSAL)


def with_new_names(text: str) -> str:
    """Return a params.yaml with the names of this version; comments, order and names of runs stay."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 2**16
    params = yaml.load(text)
    for old, new in SECTIONS.items():
        if old in params:
            _rename_key(params, old, new)
    for kind, renamed in METHODS.items():
        _rename_methods(params, kind, renamed)
    stream = io.StringIO()
    yaml.dump(params, stream)
    return stream.getvalue()


def _rename_methods(params: Any, kind: str, renamed: dict[str, str]) -> None:
    """Rename the sections of methods that have another name now, and the runs' references to them."""
    sections = params.get(kind) or {}
    for name in list(sections):
        section = sections[name] or {}
        if "method" in section:
            section["method"] = renamed.get(section["method"], section["method"])
        elif name in renamed:
            _rename_key(sections, name, renamed[name])
            _rename_references(params.get("runs") or {}, kind, name, renamed[name])


def _rename_references(runs: Any, kind: str, old: str, new: str) -> None:
    """Let every run that names a section by its old name use the new one."""
    for run in runs.values():
        for key, names in REFERENCES.items():
            if names != kind or not isinstance(run, dict) or key not in run:
                continue
            value = run[key]
            if isinstance(value, list):
                value[:] = [new if one == old else one for one in value]
            elif value == old:
                run[key] = new


def _rename_key(mapping: Any, old: str, new: str) -> None:
    """Rename a key of a YAML mapping in its place, with its comment."""
    position = list(mapping).index(old)
    comment = mapping.ca.items.pop(old, None)
    mapping.insert(position, new, mapping.pop(old))
    if comment is not None:
        mapping.ca.items[new] = comment
