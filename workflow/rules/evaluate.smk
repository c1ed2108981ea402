"""Evaluate: what is left of the model, runs and the dense model alike.

in   a checkpoint's manifest, data/sample/test.safetensors and those of further texts,
     data/prepare/tasks.json
out  data/scores/<run>.json
"""


rule evaluate:
    """Measure perplexity, zero-shot accuracy and size of one run, or of the dense model."""
    input:
        params=section("evaluate"),
        compute=section("compute"),
        checkpoint=lambda wildcards: manifest(wildcards.run),
        tokens="data/sample/test.safetensors",
        further=[
            f"data/sample/{role}.safetensors"
            for role in ROLES
            if role.startswith(FURTHER)
        ],
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
    params:
        further=lambda wildcards, input: many("--further", input.further),
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
            --out {output.scores:q}
        """
