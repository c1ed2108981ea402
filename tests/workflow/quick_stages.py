"""Stands in for rankwise.__main__ where a test asks the engines, not the arithmetic.

Every stage writes the hash of all that it read: another input gives other bytes, the same inputs
give the same. The stage ``params`` and the user's commands are the real ones.
"""

import hashlib
import runpy
import sys
from pathlib import Path

STAGES = (
    "prepare",
    "sample",
    "covariance",
    "fisher",
    "decompose",
    "suggest",
    "trial",
    "allocate",
    "build",
    "refine",
    "evaluate",
    "speed",
    "report",
    "track",
)
WRITTEN = {
    "allocate": {"--trials", "--out"},
    "build": {"--checkpoint", "--out"},
    "refine": {"--checkpoint", "--record", "--out"},
    "evaluate": {"--items", "--out"},
    "report": {"--summary", "--out"},
}
UNDECLARED = {"--work", "--store", "--logs"}


def main(arguments: list[str]) -> None:
    """Read ``--log FILE STAGE [KIND] --option value …`` and write the stage's outputs."""
    log, stage, *rest = arguments[1:]
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    Path(log).write_text(f"{stage}\n")
    if not rest[0].startswith("--"):
        stage += rest.pop(0)
    options = list(zip(rest[::2], rest[1::2], strict=True))
    written = WRITTEN.get(stage, {"--out"})
    digest = hashlib.sha256(stage.encode())
    for name, value in options:
        for word in expand_braces(value) if name not in written | UNDECLARED else ():
            path = Path(word)
            digest.update(name.encode() + (path.read_bytes() if path.is_file() else word.encode()))
    outputs = [Path(value) for name, value in options if name in written]
    for number, path in enumerate(outputs):
        file = path if path.suffix else path / "model.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'"{digest.hexdigest()} {number}"\n')


def expand_braces(value: str) -> list[str]:
    """Return the paths that ``data/scores/{a,b}.json`` stands for, as the real stages do."""
    before, _, rest = value.partition("{")
    names, closing, after = rest.partition("}")
    return [f"{before}{name}{after}" for name in names.split(",")] if closing else [value]


if __name__ == "__main__":
    if sys.argv[1] == "--log" and sys.argv[3] in STAGES:
        main(sys.argv[1:])
    elif sys.argv[1] != "plan":  # what these stages are given fits
        if sys.argv[1] == "run":  # and what they leave is no table
            from rankwise.commands import show

            show.print_table = show.report_partial_results = lambda: None
        runpy.run_module("rankwise.real_main", run_name="__main__")
