"""Track: MLflow, filled from the files, which stay the record.

in   data/scores, data/items, data/speed where runs are timed, data/allocate, data/refine,
     data/checkpoints/<run>.json; the page, to attach it
out  data/track/tracked.json
     data/mlflow/mlflow.db, undeclared: can be thrown away and is filled again
"""


rule track:
    """Bring MLflow up to date with the study; doing it twice changes nothing."""
    input:
        params=section_file("track"),
        runs=section_file("runs"),
        report=section_file("report"),
        page="data/report/index.html",
        scores=expand("data/scores/{run}.json", run=[DENSE, *RUNS]),
        by_item=expand("data/items/{run}.json", run=[DENSE, *RUNS]),
        speed=expand("data/speed/{run}.json", run=TIMED),
        allocation=expand("data/allocate/{run}.json", run=COMPRESSED),
        refinement=expand("data/refine/{run}.json", run=REFINED),
        trials=expand("data/allocate/{run}.trials.jsonl", run=COMPRESSED),
        checkpoint=[manifest(run) for run in [DENSE, *RUNS]],
        code=fingerprint_file("track"),
    output:
        tracked="data/track/tracked.json",
    log:
        "logs/track.log",
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
        store="data/mlflow/mlflow.db",
    shell:
        """
        python -m rankwise --log {log:q} track \
            --params {input.params:q} \
            --report {input.report:q} \
            --page {input.page:q} \
            {params.scores} \
            {params.by_item} \
            {params.speed} \
            {params.allocation} \
            {params.trials} \
            {params.refinement} \
            {params.checkpoint} \
            --store {params.store:q} \
            --out {output.tracked:q}
        """
