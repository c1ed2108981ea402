"""What all rules share: the study's parameters, the axes of the graph, helpers of rankwise.workflow.

in   params.yaml
out  data/params/<section>.json: the sections, written where they changed, whenever rules are read
"""

import os
from pathlib import Path

from rankwise.allocate import allocators
from rankwise.engines import search_path
from rankwise.params import DENSE, ROLES
from rankwise.workflow import (
    code,
    corpora_inputs,
    many,
    model_inputs,
    read_study,
    section,
    smk,
    tasks_inputs,
)

STUDY = read_study(
    Path("params.yaml")
)  # refuses a bad params.yaml before anything runs
RUNS = STUDY.runs  # name: what to do
METHODS = STUDY.decomposers_used()
BLOCKS = range(
    len(STUDY.blocks())
)  # a block is some consecutive layers, the unit of scatter
THREADS = STUDY.compute.threads
GPU = int(STUDY.compute.device.startswith("cuda"))

# Jobs say "python": that of the environment Snakemake itself runs in, activated or not.
os.environ.update(PATH=search_path())


wildcard_constraints:
    role="|".join(ROLES),
    method="|".join(METHODS),
    block=r"\d+",
    run="|".join([DENSE, *RUNS]),


def factors(run):
    """Return the factors that one run is made of, all blocks."""
    return [
        f"data/decompose/{RUNS[run].decompose}/block_{block}.safetensors"
        for block in BLOCKS
    ]


def search_text(run):
    """Return the search tokens for an allocator that scores candidates, else nothing."""
    scores = allocators[RUNS[run].allocate].scores
    return ["data/sample/search.safetensors"] if scores else []


def statistics(run):
    """Return the covariance files for an allocator that asks for them, else nothing."""
    asks = allocators[RUNS[run].allocate].statistics
    return [f"data/covariance/block_{block}.safetensors" for block in BLOCKS if asks]


def manifest(run):
    """Return the manifest of a run's checkpoint, or of the dense model."""
    return "data/prepare/model.json" if run == DENSE else f"data/checkpoints/{run}.json"
