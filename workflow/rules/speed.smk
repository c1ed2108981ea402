"""Speed: tokens per second beside the dense model; measured, so never compared byte by byte.

Only where the report asks for it: speed.batches may be none, for a model that memory holds once.

in   a checkpoint's manifest, data/prepare/model.json
out  data/speed/<run>.json
"""


rule speed:
    """Time one run against the dense model, with the machine to itself."""
    input:
        params=section_file("speed"),
        compute=section_file("compute"),
        checkpoint=lambda wildcards: manifest(wildcards.run),
        against="data/prepare/model.json",
        code=fingerprint_file("speed"),
    output:
        speed="data/speed/{run}.json",
    log:
        "logs/speed/{run}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: lambda wildcards: workflow.cores  # every core there is, so that nothing runs beside it
    resources:
        mem_mb=memory("speed"),
        runtime=minutes("speed"),
        gpu=gpus("speed"),
    shell:
        """
        python -m rankwise --log {log:q} speed \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --run {wildcards.run:q} \
            --checkpoint {input.checkpoint:q} \
            --against {input.against:q} \
            --out {output.speed:q}
        """
