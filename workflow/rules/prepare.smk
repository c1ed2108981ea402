"""Prepare: what goes in, at pinned revisions, with hashes.

in   local files or the Hub, as params.yaml says; families/*.yaml, if the study has any
out  data/prepare/model.json, corpora.json, tasks.json: manifests
"""


rule prepare_model:
    """Find (or fetch) the dense model, check it against params.yaml, hash its files."""
    input:
        params=section_file("prepare.model"),
        local=local_inputs(STUDY, "prepare_model"),
        families=family_inputs(),
        code=fingerprint_file("prepare_model"),
    output:
        model="data/prepare/model.json",
    log:
        "logs/prepare/model.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    params:
        families=str(FAMILIES),
    shell:
        """
        python -m rankwise --log {log:q} prepare model \
            --params {input.params:q} \
            --families {params.families:q} \
            --out {output.model:q}
        """


rule prepare_corpora:
    """Find (or fetch) every text and hash it."""
    input:
        params=section_file("prepare.corpora"),
        local=local_inputs(STUDY, "prepare_corpora"),
        code=fingerprint_file("prepare_corpora"),
    output:
        corpora="data/prepare/corpora.json",
    log:
        "logs/prepare/corpora.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    shell:
        """
        python -m rankwise --log {log:q} prepare corpora \
            --params {input.params:q} \
            --out {output.corpora:q}
        """


rule prepare_tasks:
    """Hash the folder of zero-shot tasks."""
    input:
        params=section_file("prepare.tasks"),
        local=local_inputs(STUDY, "prepare_tasks"),
        code=fingerprint_file("prepare_tasks"),
    output:
        tasks="data/prepare/tasks.json",
    log:
        "logs/prepare/tasks.log",
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    shell:
        """
        python -m rankwise --log {log:q} prepare tasks \
            --params {input.params:q} \
            --out {output.tasks:q}
        """
