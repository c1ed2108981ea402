"""Names of params.yaml that version 0.1 used and that have another name now."""

from collections.abc import Iterator
from typing import Any

SECTIONS = {"curvature": "fisher"}
"""Section of version 0.1 → its name now."""
METHODS = {
    "decompose": {"curvature": "kfac", "curvature_sparse": "kfac_sparse"},
    "allocate": {"curvature": "least_loss"},
}
"""Kind of method → name of version 0.1 → its name now."""
REFERENCES = {"decompose": "decompose", "allocate": "allocate", "steps_allocate": "allocate"}
"""Key of a run → the kind of method whose section it names."""
ADVICE = "write the new name, or let 'rankwise migrate' do it"


def find_old_names(params: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for every old name in a params.yaml as written.

    Names that a user gave to runs, or to sections that name their method, are no old names.
    """
    for old, new in SECTIONS.items():
        if old in params:
            yield f"{old}: this section is called '{new}' now; {ADVICE}"
    for kind, renamed in METHODS.items():
        sections = params.get(kind)
        for name, section in sections.items() if isinstance(sections, dict) else ():
            method = section.get("method", name) if isinstance(section, dict) else name
            if isinstance(method, str) and method in renamed:
                yield f"{kind}.{name}: the method '{method}' is called '{renamed[method]}' now; {ADVICE}"
