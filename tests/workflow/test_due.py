"""Which jobs will run, and why: said before a run starts, and of a single file by `rankwise why`."""

import re

from rankwise.workflow.due import FOLLOWS, DueJob, read_dry_run, summarise
from tests.workflow.studies import Study

CARDS = """\
Building DAG of jobs...

rule decompose:
    input: data/params/decompose.svd.json
    output: data/decompose/dense/svd/group_0.safetensors
    log: logs/decompose/dense/svd/group_0.log
    jobid: 7
    reason: Missing output files: data/decompose/dense/svd/group_0.safetensors
    wildcards: origin=dense, method=svd, group=0
    resources: tmpdir=<TBD>

rule allocate:
    output: data/allocate/plain.trials.jsonl, data/allocate/plain.json
    jobid: 3
    reason: Input files updated by another job: data/decompose/dense/svd/group_0.safetensors
    wildcards: run=plain

localrule all:
    input: data/report/index.html
    jobid: 0
    reason: Input files updated by another job: data/report/index.html
"""


def test_a_dry_run_is_read() -> None:
    assert read_dry_run(CARDS) == [
        DueJob(
            "decompose svd 0", ("data/decompose/dense/svd/group_0.safetensors",), "not made yet"
        ),
        DueJob(
            "allocate plain",
            ("data/allocate/plain.trials.jsonl", "data/allocate/plain.json"),
            FOLLOWS,
        ),
    ]
    assert read_dry_run("Nothing to be done (all requested files are present).") == []


def test_causes_stand_before_what_follows() -> None:
    jobs = [DueJob(f"evaluate {name}", (name,), FOLLOWS) for name in "abcdef"]
    said = summarise([*jobs, DueJob("decompose kfac", ("k",), "code of linalg.eigen changed")], 60)
    assert said.splitlines() == [
        "7 of 60 jobs will run:",
        "  decompose kfac: code of linalg.eigen changed",
        f"  evaluate a, evaluate b, evaluate c, evaluate d and 2 more: {FOLLOWS}",
    ]


def test_a_run_says_what_it_will_do_and_why(small: Study) -> None:
    small.do("python", "-m", "rankwise", "run")  # leaves a copy of what the results were made with
    path = small.folder / "package/rankwise/decompose/svd.py"
    path.write_text(f"{path.read_text()}\nEDITED = True\n")
    small.change("evaluate.batch=4")
    said = small.do("python", "-m", "rankwise", "run")
    total = len(small.stages()) - 2
    assert re.search(rf"\d+ of {total} jobs will run:", said)
    assert "decompose svd 0: code of decompose.svd changed" in said
    assert "evaluate.batch was 8, is 4" in said
    assert f"build plain: {FOLLOWS}" in said or "build plain" in said


def test_why_explains_a_file(small: Study) -> None:
    small.do("python", "-m", "rankwise", "run")
    said = small.do("python", "-m", "rankwise", "why", "data/scores/plain.json")
    assert "data/scores/plain.json is made by evaluate@plain" in said
    assert "It is up to date" in said
    assert "data/code/evaluate.json" in said
    path = small.folder / "package/rankwise/decompose/svd.py"
    path.write_text(f"{path.read_text()}\nEDITED = True\n")
    said = small.do("python", "-m", "rankwise", "why", "data/checkpoints/plain/config.json")
    assert f"It is due: build plain, {FOLLOWS}." in said
    assert "first decompose svd 0: code of decompose.svd changed" in said


def test_why_refuses_what_no_job_makes(small: Study) -> None:
    done = small.call("python", "-m", "rankwise", "why", "data/scores/plane.json")
    assert done.returncode == 2
    assert "no job of this study makes 'data/scores/plane.json'" in done.stderr
    assert "data/scores/plain.json" in done.stderr
