"""Report: one page and one summary of the whole study.

in   data/scores, data/speed (runs and the dense model), data/allocate and data/refine (runs)
out  data/report/index.html, summary.json
"""


rule report:
    """Put every run beside the dense model: table, figures, ranks, search trials, refinements."""
    input:
        params=section("report"),
        runs=section("runs"),
        scores=expand("data/scores/{run}.json", run=[DENSE, *RUNS]),
        speed=expand("data/speed/{run}.json", run=[DENSE, *RUNS]),
        allocation=expand("data/allocate/{run}.json", run=COMPRESSED),
        refinement=expand("data/refine/{run}.json", run=REFINED),
        trials=expand("data/allocate/{run}.trials.jsonl", run=COMPRESSED),
        code=code("stages.report"),
        rules=smk("report"),
    output:
        page="data/report/index.html",
        summary="data/report/summary.json",
    log:
        "logs/report.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    params:
        scores=lambda wildcards, input: many("--scores", input.scores),
        speed=lambda wildcards, input: many("--speed", input.speed),
        allocation=lambda wildcards, input: many("--allocation", input.allocation),
        trials=lambda wildcards, input: many("--trials", input.trials),
        refinement=lambda wildcards, input: many("--refinement", input.refinement),
    shell:
        """
        python -m rankwise --log {log:q} report \
            --params {input.params:q} \
            {params.scores} \
            {params.speed} \
            {params.allocation} \
            {params.trials} \
            {params.refinement} \
            --out {output.page:q} \
            --summary {output.summary:q}
        """
