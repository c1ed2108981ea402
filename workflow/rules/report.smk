"""Report: one page and one summary of the whole study.

in   data/scores, data/items, data/speed where runs are timed (runs and the dense model), data/allocate,
     data/refine and the manifests of the checkpoints (runs), the factors for their spectra, the
     manifests of what went in, and the sections that made them: all but track's, for the page tells how
     to make the runs again
out  data/report/index.html, summary.json
     logs/, undeclared: what the stages took is on the page, for it holds times anyway
"""


rule report:
    """Put every run beside the dense model: table, figures, ranks, search trials, refinements."""
    input:
        params=section_file("report"),
        scores=expand("data/scores/{run}.json", run=[DENSE, *RUNS]),
        by_item=expand("data/items/{run}.json", run=[DENSE, *RUNS]),
        speed=expand("data/speed/{run}.json", run=TIMED),
        allocation=expand("data/allocate/{run}.json", run=COMPRESSED),
        refinement=expand("data/refine/{run}.json", run=REFINED),
        trials=expand("data/allocate/{run}.trials.jsonl", run=COMPRESSED),
        checkpoint=[manifest(run) for run in [DENSE, *RUNS]],
        sections=[
            section_file(name)
            for name in [
                *("prepare.model", "prepare.corpora", "prepare.tasks"),
                *(f"sample.{role}" for role in ROLES),
                *("covariance", "fisher"),
                *(f"decompose.{method}" for method in METHODS),
                *(f"allocate.{name}" for name in ALLOCATORS),
                *(f"refine.{name}" for name in REFINERS),
                *(f"runs.{run}" for run in COMPRESSED if BUILT[run].origin != DENSE),
                *("runs", "build", "evaluate", "speed", "report", "compute"),
            ]
        ],
        model=manifest(DENSE),
        corpora="data/prepare/corpora.json",
        tasks="data/prepare/tasks.json",
        factors=sorted({path for run in COMPRESSED for path in factors(run)}),
        code=fingerprint_file("report"),
    output:
        page=report("data/report/index.html", category="Study"),
        summary=report("data/report/summary.json", category="Study"),
    log:
        "logs/report.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    params:
        scores=lambda wildcards, input: braced_option("--scores", input.scores),
        by_item=lambda wildcards, input: braced_option("--items", input.by_item),
        speed=lambda wildcards, input: braced_option("--speed", input.speed),
        allocation=lambda wildcards, input: braced_option(
            "--allocation", input.allocation
        ),
        trials=lambda wildcards, input: braced_option("--trials", input.trials),
        refinement=lambda wildcards, input: braced_option(
            "--refinement", input.refinement
        ),
        checkpoint=lambda wildcards, input: braced_option(
            "--checkpoint", input.checkpoint
        ),
        sections=lambda wildcards, input: braced_option("--section", input.sections),
        factors=lambda wildcards, input: braced_option("--factors", input.factors),
        logs="logs",
    shell:
        """
        python -m rankwise --log {log:q} report \
            --params {input.params:q} \
            {params.scores} \
            {params.by_item} \
            {params.speed} \
            {params.allocation} \
            {params.trials} \
            {params.refinement} \
            {params.checkpoint} \
            {params.sections} \
            {params.factors} \
            --model {input.model:q} \
            --corpora {input.corpora:q} \
            --tasks {input.tasks:q} \
            --logs {params.logs:q} \
            --out {output.page:q} \
            --summary {output.summary:q}
        """
