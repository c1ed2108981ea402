"""Build: the compressed checkpoint of one run.

in   data/prepare/model.json, the run's factors, data/allocate/<run>.json
     data/sample/calibration.safetensors: the checkpoint is opened again and checked on some of it
out  data/checkpoints/<run>/ and its manifest data/checkpoints/<run>.json, written last
"""


rule build:
    """Slice the factors to the allocated ranks and save the model; later stages read the manifest."""
    input:
        params=section_file("build"),
        model="data/prepare/model.json",
        factors=lambda wildcards: factors(wildcards.run),
        allocation="data/allocate/{run}.json",
        calibration="data/sample/calibration.safetensors",
        code=fingerprint_file("build"),
    output:
        checkpoint=directory("data/checkpoints/{run}"),
        manifest="data/checkpoints/{run}.json",
    log:
        "logs/build/{run}.log",
    wildcard_constraints:
        run="|".join(BUILT),
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("build"),
        runtime=minutes("build"),
        gpu=gpus("build"),
    params:
        factors=lambda wildcards, input: repeat_option("--factors", input.factors),
    shell:
        """
        python -m rankwise --log {log:q} build \
            --params {input.params:q} \
            --model {input.model:q} \
            {params.factors} \
            --allocation {input.allocation:q} \
            --calibration {input.calibration:q} \
            --checkpoint {output.checkpoint:q} \
            --out {output.manifest:q}
        """
