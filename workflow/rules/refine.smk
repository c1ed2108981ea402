"""Refine: a run that starts from another run's checkpoint and trains it on calibration text.

in   data/prepare/model.json, data/sample/calibration.safetensors, the other run's checkpoint
out  data/checkpoints/<run>/ and its manifest data/checkpoints/<run>.json, written last
     data/refine/<run>.json: loss curves, and whether it helped
     data/work/refine/<run>/, undeclared: finished blocks, so that one that was stopped goes on
"""


rule refine:
    """Train one run's factors within its budget; where that does not help, keep them as they were."""
    input:
        params=lambda wildcards: section_file(f"refine.{REFINED[wildcards.run].refine}"),
        compute=section_file("compute"),
        model="data/prepare/model.json",
        tokens="data/sample/calibration.safetensors",
        start=lambda wildcards: manifest(REFINED[wildcards.run].of),
        code=lambda wildcards: method_code("refine", REFINED[wildcards.run].refine),
    output:
        record="data/refine/{run}.json",
        checkpoint=directory("data/checkpoints/{run}"),
        manifest="data/checkpoints/{run}.json",
    log:
        "logs/refine/{run}.log",
    wildcard_constraints:
        run="|".join(REFINED) or "(?!)",  # an empty one would let this rule build every run
    conda:
        "../envs/rankwise.yaml"
    threads: THREADS
    resources:
        mem_mb=memory("refine"),
        runtime=minutes("refine"),
        gpu=gpus("refine"),
    params:
        work="data/work/refine/{run}",
    shell:
        """
        python -m rankwise --log {log:q} refine \
            --params {input.params:q} \
            --compute {input.compute:q} \
            --model {input.model:q} \
            --tokens {input.tokens:q} \
            --start {input.start:q} \
            --checkpoint {output.checkpoint:q} \
            --work {params.work:q} \
            --record {output.record:q} \
            --out {output.manifest:q}
        """
