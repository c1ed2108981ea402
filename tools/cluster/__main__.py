"""The whole count, some hours on a small machine: the embedded study on SLURM, then rounds of kills.

    python -m tools.cluster [--rounds 20] [--seed 0] [embedded] [rounds]

Writes rows of docs/cluster.md, that of the rounds after each of them.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.workflow.studies import ROOT, Study, copy_package, make_study
from tools.cluster.disturbed import KINDS, RUN, disturb
from tools.cluster.local import Cluster, why_not
from tools.cluster.studies import ONE_RUN, often
from tools.faults.tally import Tally, put_table

PAGE = ROOT / "docs/cluster.md"
LAST = 12
"""Jobs of the study in rounds that are finished, at most, when something is killed."""


def embedded(cluster: Cluster, folder: Path, asked: argparse.Namespace) -> Iterator[Tally]:
    """Run the embedded study here and on the cluster, and compare."""
    tally = Tally("the embedded study beside a local run", 0, tried=1)
    here, there = Study(folder / "here"), Study(folder / "there")
    for study in (here, there):
        run = [sys.executable, "-m", "rankwise", "init", str(study.folder)]
        subprocess.run(run, check=True, capture_output=True)
        copy_package(study.folder)
    ended = there.start(*RUN)
    here.do("python", "-m", "rankwise", "run")
    _, said = ended.communicate()
    if ended.returncode:
        tally.missed(f"exit code {ended.returncode}: {said[-700:]}")
    elif there.hashes() != here.hashes():
        tally.missed("other bytes", wrong=True)
    print(f"{len(here.hashes())} files compared", flush=True)
    yield tally


def rounds(cluster: Cluster, folder: Path, asked: argparse.Namespace) -> Iterator[Tally]:
    """Kill something at a random moment of each round, and compare with a local run."""
    tally = Tally("one kill a round: job, node, controller or Snakemake", asked.seed)
    study = make_study(folder / "study", quick=True, settings=ONE_RUN)
    often(study)
    alone = study.copy(folder / "alone")
    alone.do("snakemake")
    for number in range(asked.rounds):
        random = Random(f"{asked.seed} {number}")
        kind, after = random.choice(KINDS), random.randrange(LAST)
        copy = study.copy(folder / f"round-{number}")
        tally.tried += 1
        missed = disturb(cluster, copy, [kind], random, after)
        if copy.hashes() != alone.hashes():
            tally.missed(f"{kind} after {after} jobs: other bytes; {missed}", wrong=True)
        elif missed:
            tally.missed(f"{kind} after {after} jobs: {missed}")
        print(f"round {number}: {kind} after {after} jobs", *tally.problems, flush=True)
        yield tally


PARTS = {"embedded": embedded, "rounds": rounds}


def main() -> int:
    """Run the parts that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all, if none is named")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    failed = False
    with Cluster() as cluster, tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        for part in asked.parts or PARTS:
            for tally in PARTS[part](cluster, Path(folder), asked):
                put_table(PAGE, [tally])
                failed |= bool(tally.problems)
            print(tally.row(), *tally.problems, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
