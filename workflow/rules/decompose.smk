"""Decompose: factors of every linear, stored once at the largest rank, shared by all runs.

in   data/prepare/model.json, data/covariance/<origin>/group_<group>.safetensors,
     data/fisher/<origin>/group_<group>.safetensors for methods that ask for it
out  data/decompose/<origin>/<method>/group_<group>.safetensors
"""


rule decompose:
    """Factor every linear of one layer group, to the largest rank any run may ask for."""
    input:
        params=section_file("decompose.{method}"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        covariance="data/covariance/{origin}/group_{group}.safetensors",
        fisher=lambda wildcards: gradients(**wildcards),
        code=lambda wildcards: method_code("decompose", wildcards.method),
    output:
        factors="data/decompose/{origin}/{method}/group_{group}.safetensors",
    log:
        "logs/decompose/{origin}/{method}/group_{group}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("decompose"),
        runtime=minutes("decompose"),
        gpu=gpus("decompose"),
    params:
        fisher=lambda wildcards, input: repeat_option("--fisher", input.fisher),
    shell:
        """
        python -m rankwise --log {log:q} decompose \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --covariance {input.covariance:q} \
            {params.fisher} \
            --out {output.factors:q}
        """
