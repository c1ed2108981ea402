"""The study in this folder: params.yaml → data/report/index.html. Run it with: snakemake

The same text in every study; the rules come with the package (in its repository: workflow/rules).
"""

from rankwise.workflow.rules import RULES


include: RULES / "common.smk"
include: RULES / "prepare.smk"
include: RULES / "sample.smk"
include: RULES / "covariance.smk"
include: RULES / "fisher.smk"
include: RULES / "decompose.smk"
include: RULES / "allocate.smk"
include: RULES / "build.smk"
include: RULES / "refine.smk"
include: RULES / "evaluate.smk"
include: RULES / "speed.smk"
include: RULES / "report.smk"
include: RULES / "track.smk"


rule all:
    """Every run compressed, measured, reported and tracked."""
    default_target: True
    input:
        "data/report/index.html",
        "data/track/tracked.json",
        expand("data/checkpoints/{run}.json", run=RUNS),
