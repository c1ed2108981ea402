"""lm-eval's own task files, by name: what a task file may include.

``include: lm_eval/tasks/piqa/piqa.yaml`` must name a file of the installed package: no absolute path,
no step upwards, no link that leads out. lm-eval's own loader reads the file and resolves its
``!function``, because the library's code runs in this process anyway. The file may include files next
to it. This package uses only its prompt, choices, answer and metrics. The including file names the
items and their split.
"""

from functools import cache
from pathlib import Path
from typing import Any

from rankwise.errors import RankwiseError
from rankwise.files.paths import resolve_inside

PREFIX = "lm_eval/tasks/"


@cache
def installed_task_files() -> Path:
    """Return the folder of lm-eval's task files."""
    from importlib.util import find_spec

    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None  # noqa: S101 (a requirement of this package)
    return Path(spec.origin).resolve().parent / "tasks"


def official_task(name: Any, by: Path) -> dict[str, Any]:
    """Return one of lm-eval's task files as a mapping, its functions resolved.

    ``name`` is what task file ``by`` includes. Raises RankwiseError unless lm-eval ships that file.
    """
    folder = installed_task_files()
    try:
        path = resolve_inside(folder, str(name).removeprefix(PREFIX), f"{by}: include")
        known = str(name).startswith(PREFIX) and path.suffix == ".yaml" and path.is_file()
    except RankwiseError:
        known = False
    if not known:
        raise RankwiseError(
            f"{by}: include must name a task file of the installed lm-eval, such as "
            f"'{PREFIX}piqa/piqa.yaml', found {name!r}"
        )
    from lm_eval.tasks._yaml_loader import load_yaml

    config: dict[str, Any] = load_yaml(path)
    return config
