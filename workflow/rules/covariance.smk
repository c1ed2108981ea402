"""Covariance: statistics of every linear's input, in one pass over the calibration text.

in   data/prepare/model.json, data/sample/calibration.safetensors, the manifest of the model looked at:
     <origin> is 'dense' or a step on the way to a run
out  data/covariance/<origin>/block_<block>.safetensors
     data/work/covariance/<origin>/, undeclared: lets a streamed pass that was stopped go on
"""


rule covariance:
    """Add up the pooled input statistics of all layers; one file a block of layers."""
    input:
        params=section("covariance"),
        compute=section("compute"),
        model="data/prepare/model.json",
        checkpoint=lambda wildcards: manifest(wildcards.origin),
        tokens="data/sample/calibration.safetensors",
        code=code("stages.covariance"),
        rules=smk("covariance"),
    output:
        blocks=expand(
            "data/covariance/{{origin}}/block_{block}.safetensors", block=BLOCKS
        ),
    log:
        "logs/covariance/{origin}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("covariance"),
        runtime=minutes("covariance"),
        gpu=gpus("covariance"),
    params:
        work="data/work/covariance/{origin}",
        out=lambda wildcards, output: many("--out", output.blocks),
    shell:
        """
        python -m rankwise --log {log:q} covariance \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            --work {params.work:q} \
            {params.out}
        """
