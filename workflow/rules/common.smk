"""What all rules share: the study's parameters, the axes of the graph, helpers of rankwise.workflow.rules.

in   params.yaml
out  data/params/<section>.json, data/code/<stage>[.<method>].json: sections and code fingerprints, written
     where they changed, whenever rules are read
"""

import os
import sys
from pathlib import Path

from snakemake.logging import logger

from rankwise.allocate import allocators
from rankwise.workflow.cluster import PREFIX, Failures
from rankwise.decompose import decomposers
from rankwise.workflow.engines import search_path
from rankwise.planning.job_resources import job_resources
from rankwise.params.sample import FURTHER
from rankwise.allocate.rounds import plan_rounds
from rankwise.params.names import DENSE
from rankwise.validation.params import instantiate_method
from rankwise.workflow.fingerprints import STAGE_METHODS, fingerprint_file
from rankwise.workflow.rules import (
    FAMILIES,
    braced_option,
    family_inputs,
    local_inputs,
    read_study,
    repeat_option,
    section_file,
)

# Refuses a bad params.yaml before anything runs. A job on a cluster reads the rules once more: it finds
# the study as the Snakemake that submitted it left it.
STUDY = read_study(Path("params.yaml"), submitted=not workflow.is_main_process)
ROLES = list(STUDY.sample.by_role())
RUNS = list(STUDY.runs)  # the rows of the report
BUILT = STUDY.built()  # name: what to do, the steps on the way to a run included
REFINED = STUDY.refinements()  # name: which run to refine, and how
COMPRESSED = list(STUDY.compressions())
METHODS = sorted({run.decompose for run in BUILT.values()})
ALLOCATORS = sorted({run.allocate for run in BUILT.values()})
REFINERS = sorted({run.refine for run in REFINED.values()})
ORIGINS = sorted({run.origin for run in BUILT.values()})  # models that are looked at
# Runs that are timed: all, or none.
TIMED = [DENSE, *RUNS] if STUDY.speed.batches else []
# A group is some consecutive layers, the unit of scatter.
GROUPS = range(len(STUDY.compute.layer_groups(STUDY.prepare.model.layers)))
# Jobs that gather some of the pools; none where one job gathers all.
SHARDS = range(STUDY.covariance.shards if STUDY.covariance.shards > 1 else 0)
# Searches whose trials are jobs: run: the trials of each round.
SEARCHES = {
    name: plan_rounds(search.trials, search.q)
    for name, run in BUILT.items()
    for search in [instantiate_method(STUDY, "allocate", run.allocate)]
    if getattr(search, "q", 1) > 1
}
THREADS = STUDY.compute.threads

# Jobs say "python": that of the environment Snakemake itself runs in, activated or not.
os.environ.update(PATH=search_path())


wildcard_constraints:
    role="|".join(ROLES),
    method="|".join(METHODS),
    group=r"\d+",
    shard=r"\d+",
    round=r"\d+",
    trial=r"\d+",
    origin="|".join(ORIGINS),
    run="|".join([DENSE, *BUILT, *REFINED]),


# Seconds of work: on a cluster they run where Snakemake does, and are not submitted.
localrules:
    prepare_model,
    prepare_corpora,
    prepare_tasks,
    sample,
    report,
    track,


FAILURES = Failures()
logger.addHandler(FAILURES)


# Jobs that failed on a cluster: where, why, and which setting to change.
onerror:
    for sentence in [] if workflow.local_exec else FAILURES.sentences():
        print(f"{PREFIX}{sentence}", file=sys.stderr)


def memory(rule):
    """Return the memory of a rule's jobs [MiB], that much more at every further attempt."""
    return lambda wildcards, attempt: job_resources(rule, STUDY).memory_mb * attempt


def minutes(rule):
    """Return the time of a rule's jobs [min], that much more at every further attempt."""
    return lambda wildcards, attempt: job_resources(rule, STUDY).minutes * attempt


def gpus(rule):
    """Return the devices of a rule's jobs."""
    return job_resources(rule, STUDY).gpus


def method_code(stage, section):
    """Return the code fingerprint of a stage that runs the method of a section."""
    return fingerprint_file(stage, STUDY.method(STAGE_METHODS[stage], section))


def allocator(run):
    """Return the class of a run's allocator."""
    return allocators[STUDY.method("allocate", BUILT[run].allocate)]


def parts(origin, shard):
    """Return the statistics of every pool of a shard, all groups of one pool after those of another."""
    return [
        f"data/shards/{origin}/shard_{shard}/part_{part}/group_{group}.safetensors"
        for part in range(STUDY.covariance.pools // STUDY.covariance.shards)
        for group in GROUPS
    ]


def factors(run):
    """Return the factors that one run is made of, all groups."""
    return [
        f"data/decompose/{BUILT[run].origin}/{BUILT[run].decompose}/group_{group}.safetensors"
        for group in GROUPS
    ]


def gradients(method, origin, group):
    """Return the output gradients for a decomposer that asks for them, else nothing."""
    wanted = decomposers[STUDY.method("decompose", method)].gradient
    return [f"data/fisher/{origin}/group_{group}.safetensors"] if wanted else []


def search_text(run):
    """Return the search tokens where allocate itself scores candidates, else nothing."""
    scores = allocator(run).scores and run not in SEARCHES
    return ["data/sample/search.safetensors"] if scores else []


def rows(run, trials):
    """Return the rows of some trials of a search."""
    return [f"data/search/{run}/trial_{trial}.jsonl" for trial in trials]


def suggestions(run, trial):
    """Return the file that suggests a trial: that of its round."""
    number = next(n for n, trials in enumerate(SEARCHES[run]) if trial in trials)
    return f"data/search/{run}/round_{number}.jsonl"


def statistics(run):
    """Return the covariance files for an allocator that asks for them, else nothing."""
    asks = allocator(run).statistics
    origin = BUILT[run].origin
    return [
        f"data/covariance/{origin}/group_{group}.safetensors"
        for group in GROUPS
        if asks
    ]


def manifest(run):
    """Return the manifest of a run's checkpoint, or of the dense model."""
    return "data/prepare/model.json" if run == DENSE else f"data/checkpoints/{run}.json"
