"""Allocate: how many components every linear keeps, within the run's budget.

A search with q > 1 goes in rounds: suggest, then q trials beside each other, then suggest again; allocate
picks the best. With q = 1 it is the one job allocate.

in   data/prepare/model.json, data/decompose/<origin>/<method>/group_<group>.safetensors,
     data/sample/search.safetensors for allocators that score candidates,
     data/covariance/<origin>/group_<group>.safetensors for those that ask for statistics
out  data/allocate/<run>.json, <run>.trials.jsonl
     data/search/<run>/round_<round>.jsonl, trial_<trial>.jsonl: suggestions and rows of a search in rounds
     data/work/allocate/<run>.jsonl, undeclared: lets a search that was stopped go on
"""


rule suggest:
    """Suggest the trials of one round, from those of the rounds before."""
    input:
        params=lambda wildcards: section_file(
            f"allocate.{BUILT[wildcards.run].allocate}"
        ),
        run=section_file("runs.{run}"),
        build=section_file("build"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        factors=lambda wildcards: factors(wildcards.run),
        search="data/sample/search.safetensors",
        rows=lambda wildcards: rows(
            wildcards.run, sum(SEARCHES[wildcards.run][: int(wildcards.round)], [])
        ),
        code=lambda wildcards: method_code("suggest", BUILT[wildcards.run].allocate),
    output:
        suggestions="data/search/{run}/round_{round}.jsonl",
    log:
        "logs/suggest/{run}/round_{round}.log",
    wildcard_constraints:
        run="|".join(SEARCHES),
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("suggest"),
        runtime=minutes("suggest"),
        gpu=gpus("suggest"),
    params:
        factors=lambda wildcards, input: repeat_option("--factors", input.factors),
        rows=lambda wildcards, input: repeat_option("--row", input.rows),
    shell:
        """
        python -m rankwise --log {log:q} suggest \
            --params {input.params:q} \
            --run {input.run:q} \
            --build {input.build:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            {params.factors} \
            --search {input.search:q} \
            {params.rows} \
            --round {wildcards.round:q} \
            --out {output.suggestions:q}
        """


rule trial:
    """Score one suggestion; one that cannot be scored is recorded as failed."""
    input:
        params=lambda wildcards: section_file(
            f"allocate.{BUILT[wildcards.run].allocate}"
        ),
        run=section_file("runs.{run}"),
        build=section_file("build"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        factors=lambda wildcards: factors(wildcards.run),
        search="data/sample/search.safetensors",
        suggestions=lambda wildcards: suggestions(wildcards.run, int(wildcards.trial)),
        code=lambda wildcards: method_code("trial", BUILT[wildcards.run].allocate),
    output:
        row="data/search/{run}/trial_{trial}.jsonl",
    log:
        "logs/trial/{run}/trial_{trial}.log",
    wildcard_constraints:
        run="|".join(SEARCHES),
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("trial"),
        runtime=minutes("trial"),
        gpu=gpus("trial"),
    params:
        factors=lambda wildcards, input: repeat_option("--factors", input.factors),
    shell:
        """
        python -m rankwise --log {log:q} trial \
            --params {input.params:q} \
            --run {input.run:q} \
            --build {input.build:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            {params.factors} \
            --search {input.search:q} \
            --suggestions {input.suggestions:q} \
            --trial {wildcards.trial:q} \
            --out {output.row:q}
        """


rule allocate:
    """Choose the ranks of one run; a search leaves its trials beside them."""
    input:
        params=lambda wildcards: section_file(
            f"allocate.{BUILT[wildcards.run].allocate}"
        ),
        run=section_file("runs.{run}"),
        build=section_file("build"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        factors=lambda wildcards: factors(wildcards.run),
        search=lambda wildcards: search_text(wildcards.run),
        rows=lambda wildcards: rows(
            wildcards.run, sum(SEARCHES.get(wildcards.run, []), [])
        ),
        statistics=lambda wildcards: statistics(wildcards.run),
        code=lambda wildcards: method_code("allocate", BUILT[wildcards.run].allocate),
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
        factors=lambda wildcards, input: repeat_option("--factors", input.factors),
        search=lambda wildcards, input: repeat_option("--search", input.search),
        statistics=lambda wildcards, input: repeat_option(
            "--statistics", input.statistics
        ),
        rows=lambda wildcards, input: repeat_option("--row", input.rows),
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
            {params.rows} \
            {params.statistics} \
            --work {params.work:q} \
            --trials {output.trials:q} \
            --out {output.allocation:q}
        """
