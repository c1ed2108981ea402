"""Fisher: gradients at every linear's output, in one backward pass over the calibration text.

in   data/prepare/model.json, data/sample/calibration.safetensors, the manifest of the model looked at:
     <origin> is 'dense' or a step on the way to a run
out  data/fisher/<origin>/group_<group>.safetensors
     data/work/fisher/<origin>/, undeclared: lets a streamed pass that was stopped go on
"""


rule fisher:
    """Add up the second moments of the loss's gradients; one file a layer group."""
    input:
        params=section_file("fisher"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        checkpoint=lambda wildcards: manifest(wildcards.origin),
        tokens="data/sample/calibration.safetensors",
        code=fingerprint_file("fisher"),
    output:
        groups=expand("data/fisher/{{origin}}/group_{group}.safetensors", group=GROUPS),
    log:
        "logs/fisher/{origin}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("fisher"),
        runtime=minutes("fisher"),
        gpu=gpus("fisher"),
    params:
        work="data/work/fisher/{origin}",
        out=lambda wildcards, output: repeat_option("--out", output.groups),
    shell:
        """
        python -m rankwise --log {log:q} fisher \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --checkpoint {input.checkpoint:q} \
            --tokens {input.tokens:q} \
            --work {params.work:q} \
            {params.out}
        """
