"""Sample: windows of tokens for three roles that never share one.

in   data/prepare/model.json, corpora.json
out  data/sample/<role>.safetensors
"""


rule sample:
    """Draw the windows of one role; search windows keep clear of the calibration windows."""
    input:
        params=section_file("sample.{role}"),
        model="data/prepare/model.json",
        corpora="data/prepare/corpora.json",
        exclude=branch(
            lambda wildcards: wildcards.role == "search",
            then=["data/sample/calibration.safetensors"],
            otherwise=[],
        ),
        code=fingerprint_file("sample"),
    output:
        tokens="data/sample/{role}.safetensors",
    log:
        "logs/sample/{role}.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    params:
        exclude=lambda wildcards, input: repeat_option("--exclude", input.exclude),
    shell:
        """
        python -m rankwise --log {log:q} sample \
            --params {input.params:q} \
            --model {input.model:q} \
            --corpora {input.corpora:q} \
            {params.exclude} \
            --out {output.tokens:q}
        """
