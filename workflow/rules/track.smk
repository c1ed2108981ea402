"""Track: MLflow, filled from the files, which stay the record.

in   the report, data/scores, data/items, data/allocate, data/refine, data/checkpoints/<run>.json
out  data/track/tracked.json
     data/mlflow/mlflow.db, undeclared: can be thrown away and is filled again
"""


rule track:
    """Bring MLflow up to date with the study; doing it twice changes nothing."""
    input:
        params=section_file("track"),
        runs=section_file("runs"),
        summary="data/report/summary.json",
        report="data/report/index.html",
        scores=expand("data/scores/{run}.json", run=[DENSE, *RUNS]),
        by_item=expand("data/items/{run}.json", run=[DENSE, *RUNS]),
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
        scores=lambda wildcards, input: repeat_option("--scores", input.scores),
        by_item=lambda wildcards, input: repeat_option("--items", input.by_item),
        allocation=lambda wildcards, input: repeat_option(
            "--allocation", input.allocation
        ),
        trials=lambda wildcards, input: repeat_option("--trials", input.trials),
        refinement=lambda wildcards, input: repeat_option(
            "--refinement", input.refinement
        ),
        checkpoint=lambda wildcards, input: repeat_option(
            "--checkpoint", input.checkpoint
        ),
        store="data/mlflow/mlflow.db",
    shell:
        """
        python -m rankwise --log {log:q} track \
            --params {input.params:q} \
            --summary {input.summary:q} \
            --report {input.report:q} \
            {params.scores} \
            {params.by_item} \
            {params.allocation} \
            {params.trials} \
            {params.refinement} \
            {params.checkpoint} \
            --store {params.store:q} \
            --out {output.tracked:q}
        """
