"""Curvature: gradients at every linear's output, in one backward pass over the calibration text.

in   data/prepare/model.json, data/sample/calibration.safetensors, the manifest of the model looked at:
     <origin> is 'dense' or a step on the way to a run
out  data/curvature/<origin>/block_<block>.safetensors
     data/work/curvature/<origin>/, undeclared: lets a streamed pass that was stopped go on
"""


rule curvature:
    """Add up the second moments of the loss's gradients; one file a block of layers."""
    input:
        params=section("curvature"),
        compute=section("compute"),
        model="data/prepare/model.json",
        checkpoint=lambda wildcards: manifest(wildcards.origin),
        tokens="data/sample/calibration.safetensors",
        code=code("stages.curvature"),
        rules=smk("curvature"),
    output:
        blocks=expand(
            "data/curvature/{{origin}}/block_{block}.safetensors", block=BLOCKS
        ),
    log:
        "logs/curvature/{origin}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("curvature"),
        runtime=minutes("curvature"),
        gpu=gpus("curvature"),
    params:
        work="data/work/curvature/{origin}",
        out=lambda wildcards, output: many("--out", output.blocks),
    shell:
        """
        python -m rankwise --log {log:q} curvature \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            --work {params.work:q} \
            {params.out}
        """
