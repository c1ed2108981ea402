"""Covariance: statistics of every linear's input, in one pass over the calibration text.

in   data/prepare/model.json, data/sample/calibration.safetensors
out  data/covariance/block_<block>.safetensors
"""


rule covariance:
    """Add up the pooled input statistics of all layers; one file a block of layers."""
    input:
        params=section("covariance"),
        compute=section("compute"),
        model="data/prepare/model.json",
        tokens="data/sample/calibration.safetensors",
        code=code("stages.covariance"),
        rules=smk("covariance"),
    output:
        blocks=expand("data/covariance/block_{block}.safetensors", block=BLOCKS),
    log:
        "logs/covariance.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        gpu=GPU,
    params:
        out=lambda wildcards, output: many("--out", output.blocks),
    shell:
        """
        python -m rankwise --log {log:q} covariance \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --tokens {input.tokens:q} \
            {params.out}
        """
