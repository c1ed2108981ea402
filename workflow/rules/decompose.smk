"""Decompose: factors of every linear, stored once at the largest rank, shared by all runs.

in   data/prepare/model.json, data/covariance/<origin>/block_<block>.safetensors,
     data/curvature/<origin>/block_<block>.safetensors for methods that ask for it
out  data/decompose/<origin>/<method>/block_<block>.safetensors
"""


rule decompose:
    """Factor every linear of one block of layers, to the largest rank any run may ask for."""
    input:
        params=section("decompose.{method}"),
        compute=section("compute"),
        model="data/prepare/model.json",
        covariance="data/covariance/{origin}/block_{block}.safetensors",
        curvature=lambda wildcards: gradients(**wildcards),
        code=lambda wildcards: code(
            "stages.decompose", module("decompose", wildcards.method)
        ),
        rules=smk("decompose"),
    output:
        factors="data/decompose/{origin}/{method}/block_{block}.safetensors",
    log:
        "logs/decompose/{origin}/{method}/block_{block}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("decompose"),
        runtime=minutes("decompose"),
        gpu=gpus("decompose"),
    params:
        curvature=lambda wildcards, input: many("--curvature", input.curvature),
    shell:
        """
        python -m rankwise --log {log:q} decompose \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --covariance {input.covariance:q} \
            {params.curvature} \
            --out {output.factors:q}
        """
