"""Allocate: how many components every linear keeps, within the run's budget.

in   data/prepare/model.json, data/decompose/<origin>/<method>/block_<block>.safetensors,
     data/sample/search.safetensors for allocators that score candidates,
     data/covariance/<origin>/block_<block>.safetensors for those that ask for statistics
out  data/allocate/<run>.json, <run>.trials.jsonl
     data/work/allocate/<run>.jsonl, undeclared: lets a search that was stopped go on
"""


rule allocate:
    """Choose the ranks of one run; a search leaves its trials beside them."""
    input:
        params=lambda wildcards: section(f"allocate.{BUILT[wildcards.run].allocate}"),
        run=section("runs.{run}"),
        build=section("build"),
        compute=section("compute"),
        model="data/prepare/model.json",
        factors=lambda wildcards: factors(wildcards.run),
        search=lambda wildcards: search_text(wildcards.run),
        statistics=lambda wildcards: statistics(wildcards.run),
        code=lambda wildcards: code(
            "stages.allocate", module("allocate", BUILT[wildcards.run].allocate)
        ),
        rules=smk("allocate"),
    output:
        trials="data/allocate/{run}.trials.jsonl",
        allocation="data/allocate/{run}.json",
    log:
        "logs/allocate/{run}.log",
    wildcard_constraints:
        run="|".join(BUILT),
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("allocate"),
        runtime=minutes("allocate"),
        gpu=gpus("allocate"),
    params:
        factors=lambda wildcards, input: many("--factors", input.factors),
        search=lambda wildcards, input: many("--search", input.search),
        statistics=lambda wildcards, input: many("--statistics", input.statistics),
        work="data/work/allocate/{run}.jsonl",
    shell:
        """
        python -m rankwise --log {log:q} allocate \
            --params {input.params:q} \
            --run {input.run:q} \
            --build {input.build:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            {params.factors} \
            {params.search} \
            {params.statistics} \
            --work {params.work:q} \
            --trials {output.trials:q} \
            --out {output.allocation:q}
        """
