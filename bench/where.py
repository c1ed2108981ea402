"""Where the time of statistics and decomposition goes, in an earlier version and in this one.

    git worktree add BEFORE 781f0b6
    python bench/where.py BEFORE --width 4096 --inner 11008     writes a block of docs/dev/performance.md

One decoder layer of ``bench/scale.py``, the same for both, under PyTorch's profiler: seconds of the calling thread
in each kind of operation, without those that it calls. The earlier version is a checkout that has a ``bench/scale.py``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import scale
import torch
from document import ROOT, fill
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "eigenproblems": ("aten::_linalg_eigh",),
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "other factorisations": ("qr", "cholesky", "triangular", "svd"),
    "attention": ("attention",),
    "sums": ("aten::sum", "aten::mean", "aten::cumsum"),
    "copies and conversions": ("copy", "aten::cat", "clone", "fill_", "zero_"),
}
"""Kind → parts of the names of its operations; the first that fits counts."""
OTHER, OUTSIDE = "element by element", "Python, files, everything else"


def kind_of(name: str) -> str:
    """Return the kind of an operation."""
    return next((k for k, parts in KINDS.items() if any(p in name for p in parts)), OTHER)


def profiled(folder: Path) -> dict[str, float]:
    """Return seconds by kind of statistics and decomposition of the model in ``folder``; in a fresh process."""
    torch.set_num_threads(scale.THREADS)
    ids = torch.load(folder / "ids", weights_only=True)
    scale.text = lambda: ids
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        taken = scale.ours(folder)
    laps = taken["covariance"], taken["decomposition"]  # wall and CPU; at first, wall alone
    total = sum(lap if isinstance(lap, float) else lap[0] for lap in laps)
    found = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profiler.key_averages():
        found[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    return {**found, OUTSIDE: max(0.0, total - sum(found.values())), "all": total}


def of(checkout: Path, folder: Path) -> dict[str, float]:
    """Profile one version in a process of its own, in which ``scale`` and the package are that version's."""
    paths = os.pathsep.join([str(checkout / "bench"), str(checkout / "src")])
    code = f"import sys; sys.path.append({str(ROOT / 'bench')!r}); import where; where.tell()"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def tell() -> None:
    """Print what `profiled` says of the folder that is named."""
    print(json.dumps(profiled(Path(sys.argv[1]))))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--inner", type=int, default=2752)
    asked = parser.parse_args()
    if not (asked.before / "bench/scale.py").is_file():  # or this version would stand for it
        parser.error(f"{asked.before} holds no bench/scale.py; give a checkout of this repository")
    versions = []
    for checkout in (asked.before.resolve(), ROOT):
        with tempfile.TemporaryDirectory(prefix="rankwise-") as name:
            scale.save_model(Path(name), asked.width, asked.inner, 1)
            torch.save(scale.text(), Path(name) / "ids")
            versions.append(of(checkout, Path(name)))
    before, after = versions
    lines = ["| seconds | before | now | ratio |", "|---|---:|---:|---:|"]
    for what, old in before.items():
        ratio = f"{after[what] / old:.2f}" if old >= 1 else "–"
        lines.append(f"| {what} | {old:.1f} | {after[what]:.1f} | {ratio} |")
    fill(ROOT / "docs/dev/performance.md", "where", "\n".join(lines))


if __name__ == "__main__":
    main()
