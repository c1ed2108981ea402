"""Evaluate: what is left of the model, runs and the dense model alike.

in   a checkpoint's manifest, data/sample/test.safetensors, data/prepare/tasks.json
out  data/scores/<run>.json
"""


rule evaluate:
    """Measure perplexity, zero-shot accuracy and size of one run, or of the dense model."""
    input:
        params=section("evaluate"),
        compute=section("compute"),
        checkpoint=lambda wildcards: manifest(wildcards.run),
        tokens="data/sample/test.safetensors",
        tasks="data/prepare/tasks.json",
        code=code("stages.evaluate"),
        rules=smk("evaluate"),
    output:
        scores="data/scores/{run}.json",
    log:
        "logs/evaluate/{run}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        """
        python -m rankwise --log {log:q} evaluate \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --run {wildcards.run:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            --tasks {input.tasks:q} \
            --out {output.scores:q}
        """
