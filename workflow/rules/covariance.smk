"""Covariance: statistics of every linear's input, in one pass over the calibration text.

in   data/prepare/model.json, data/sample/calibration.safetensors, the manifest of the model looked at:
     <origin> is 'dense' or a step on the way to a run
out  data/covariance/<origin>/group_<group>.safetensors
     data/shards/<origin>/shard_<shard>/part_<pool of the shard>/group_<group>.safetensors where shards > 1
     data/work/covariance/<origin>/, undeclared: lets a streamed pass that was stopped go on
"""


rule covariance_shard:
    """Gather some of the pools, each apart, so that they can be added up in their order."""
    input:
        params=section_file("covariance"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        checkpoint=lambda wildcards: manifest(wildcards.origin),
        tokens="data/sample/calibration.safetensors",
        code=fingerprint_file("covariance"),
    output:
        parts=parts("{origin}", "{shard}"),
    log:
        "logs/covariance/{origin}/shard_{shard}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("covariance_shard"),
        runtime=minutes("covariance_shard"),
        gpu=gpus("covariance_shard"),
    params:
        work="data/work/covariance/{origin}/shard_{shard}",
        out=lambda wildcards, output: repeat_option("--out", output.parts),
    shell:
        """
        python -m rankwise --log {log:q} covariance \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            --shard {wildcards.shard:q} \
            --work {params.work:q} \
            {params.out}
        """


rule covariance:
    """Add up the pooled input statistics of all layers, or what shards gathered; one file a group."""
    input:
        params=section_file("covariance"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        checkpoint=lambda wildcards: manifest(wildcards.origin),
        tokens="data/sample/calibration.safetensors",
        parts=lambda wildcards: [
            path for shard in SHARDS for path in parts(wildcards.origin, shard)
        ],
        code=fingerprint_file("covariance"),
    output:
        groups=expand(
            "data/covariance/{{origin}}/group_{group}.safetensors", group=GROUPS
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
        parts=lambda wildcards, input: repeat_option("--part", input.parts),
        out=lambda wildcards, output: repeat_option("--out", output.groups),
    shell:
        """
        python -m rankwise --log {log:q} covariance \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            --work {params.work:q} \
            {params.parts} \
            {params.out}
        """
