"""Decompose: factors of every linear, stored once at the largest rank, shared by all runs.

in   data/prepare/model.json, data/covariance/block_<block>.safetensors
out  data/decompose/<method>/block_<block>.safetensors
"""


rule decompose:
    """Factor every linear of one block of layers, to the largest rank any run may ask for."""
    input:
        params=section("decompose.{method}"),
        compute=section("compute"),
        model="data/prepare/model.json",
        covariance="data/covariance/block_{block}.safetensors",
        code=lambda wildcards: code("stages.decompose", f"decompose.{wildcards.method}"),
        rules=smk("decompose"),
    output:
        factors="data/decompose/{method}/block_{block}.safetensors",
    log:
        "logs/decompose/{method}/block_{block}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        """
        python -m rankwise --log {log:q} decompose \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --method {wildcards.method:q} \
            --model {input.model:q} \
            --covariance {input.covariance:q} \
            --out {output.factors:q}
        """
