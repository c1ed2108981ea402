"""Evaluate: what is left of the model, runs and the dense model alike.

in   a checkpoint's manifest, data/sample/test.safetensors and those of further texts,
     data/prepare/tasks.json; data/prepare/model.json where runs are compared with it token by token
out  data/scores/<run>.json; data/items/<run>.json, what the scores are the means of
"""


rule evaluate:
    """Measure perplexity, zero-shot accuracy and size of one run, or of the dense model."""
    input:
        params=section_file("evaluate"),
        compute=section_file("compute"),
        checkpoint=lambda wildcards: manifest(wildcards.run),
        tokens="data/sample/test.safetensors",
        further=[
            f"data/sample/{role}.safetensors"
            for role in ROLES
            if role.startswith(FURTHER)
        ],
        tasks="data/prepare/tasks.json",
        against="data/prepare/model.json" if STUDY.evaluate.divergence else [],
        code=fingerprint_file("evaluate"),
    output:
        scores="data/scores/{run}.json",
        by_item="data/items/{run}.json",
    log:
        "logs/evaluate/{run}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("evaluate"),
        runtime=minutes("evaluate"),
        gpu=gpus("evaluate"),
    params:
        further=lambda wildcards, input: repeat_option("--further", input.further),
        against="--against data/prepare/model.json" if STUDY.evaluate.divergence else "",
    shell:
        """
        python -m rankwise --log {log:q} evaluate \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --run {wildcards.run:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            {params.further} \
            --tasks {input.tasks:q} \
            {params.against} \
            --items {output.by_item:q} \
            --out {output.scores:q}
        """
