"""Changing one thing re-runs the jobs that depend on it, no more and no less, in both engines."""

import time
from pathlib import Path

import pytest

from tests.workflow.studies import WRITERS, Study, named

END = "report track"
MEASURED = f"refine* evaluate@* speed@* {END}"
AFTER_STATISTICS = f"decompose* allocate* build* {MEASURED}"
TRAINED = f"refine@trained evaluate@trained speed@trained {END}"
PLAIN = f"allocate@plain build@plain evaluate@plain speed@plain {TRAINED}"
SEARCHED = f"allocate_sample@searched build@searched evaluate@searched speed@searched {END}"
SECOND_STEP = "covariance@ours* fisher@ours* decompose_fisher@ours*"
OURS = f"allocate@ours* build@ours* {SECOND_STEP} evaluate@ours speed@ours {END}"

SECTIONS = {
    "prepare.model.dtype=bfloat16": "prepare_model sample* covariance* fisher* "
    f"evaluate* speed* {AFTER_STATISTICS}",
    "prepare.corpora.train.characters=5000": "prepare_corpora sample* covariance* fisher* "
    f"evaluate* {AFTER_STATISTICS}",
    "prepare.tasks.source=null": f"prepare_tasks evaluate* {END}",
    "sample.calibration.seed=1": "sample@calibration sample_sample@search covariance* fisher* "
    f"{AFTER_STATISTICS}",
    "sample.search.seed=1": f"sample_sample@search {SEARCHED}",
    "sample.test.sequences=4": f"sample@test evaluate* {END}",
    "covariance.batch=2": f"covariance* fisher@ours* {AFTER_STATISTICS}",
    "fisher.batch=2": f"fisher* decompose_fisher@dense-kfac-* {OURS}",
    "decompose.svd.dense=[o]": f"decompose@dense-svd-* {PLAIN}",
    "decompose.pooled_pca.dense=[o]": f"decompose@dense-pooled_pca-* {SEARCHED}",
    "decompose.kfac.damping=1e-5": f"decompose_fisher@* {OURS}",
    "allocate.uniform.floor=0.2": f"{PLAIN} {OURS}",
    "allocate.hyperopt.trials=3": SEARCHED,
    "refine.blockwise.epochs=2": TRAINED,
    "runs.plain.keep=0.5": PLAIN,
    "runs.plain={decompose: svd, allocate: uniform, total_params: 17000}": PLAIN,
    "runs.searched.keep=0.5": SEARCHED,
    "runs.ours.keep=0.5": OURS,
    "build.dtype=float16": f"allocate* build* {SECOND_STEP} {MEASURED}",
    "evaluate.batch=4": f"evaluate* {END}",
    "speed.repeats=4": f"speed* {END}",
    "report.title=other": END,
    "track.experiment=other": "track",
    "compute.threads=2": f"covariance* fisher* evaluate* speed* {AFTER_STATISTICS}",
}
EVERYTHING = f"prepare_model sample* covariance* fisher* evaluate* speed* {AFTER_STATISTICS}"
CODE = {
    "model/family_files/llama.yaml": EVERYTHING,
    "decompose/svd.py": f"decompose@dense-svd-* {PLAIN}",
    "decompose/pooled_pca.py": f"decompose@dense-pooled_pca-* {SEARCHED}",
    "decompose/kfac.py": f"decompose_fisher@* {OURS}",
    "allocate/uniform.py": f"{PLAIN} {OURS}",
    "allocate/hyperopt.py": SEARCHED,
    "refine/blockwise.py": TRAINED,
    "stages/report.py": END,
    "report/words.py": END,
    "inputs/texts.py": f"sample* covariance* fisher* evaluate* {AFTER_STATISTICS}",
}
"""File of the package → what runs again when its code changes."""
RULES = {
    ("speed.smk", "--against", "--dense"): f"speed* {END}",
    (
        "common.smk",
        "def manifest(run):",
        "def manifest(run, *_):",
    ): f"covariance* fisher* evaluate* speed* {AFTER_STATISTICS}",
}
"""File of rules, and what is written in place of what → what runs again."""
INPUTS = {
    "train.txt": f"prepare_corpora sample* covariance* fisher* evaluate* {AFTER_STATISTICS}",
    "tasks/tiny.jsonl": f"prepare_tasks evaluate* {END}",
    "tasks/one_more.yaml": f"prepare_tasks evaluate* {END}",
}


def check(study: Study, expected: str, *, writers: set[str]) -> None:
    """Compare both engines with the table; ``writers``: the stages of sections and fingerprints that DVC runs, too.

    Snakemake goes first: reading the rules brings sections and fingerprints up to date.
    """
    jobs = named(expected, set(study.stages()))
    assert study.snakemake_would_run() == jobs
    assert study.dvc_would_run() == jobs | writers


def edit(path: Path, text: str = "# edited") -> None:
    """Add a line, now: later than every artifact."""
    with path.open("a") as stream:
        stream.write(f"\n{text}\n")
    now = time.time()
    assert path.stat().st_mtime <= now


def test_finished_study_has_nothing_to_do(study: Study) -> None:
    assert study.snakemake_would_run() == set()
    assert study.dvc_would_run() == set()


@pytest.mark.parametrize(("setting", "expected"), SECTIONS.items(), ids=SECTIONS)
def test_section(study: Study, setting: str, expected: str) -> None:
    study.change(setting)
    check(study, expected, writers=WRITERS)


def test_every_section_is_in_the_table(study: Study) -> None:
    named_sections = {setting.split(".", maxsplit=1)[0] for setting in SECTIONS}
    from rankwise.params.study import Params

    assert named_sections == set(Params.model_fields)


@pytest.mark.parametrize(("file", "expected"), CODE.items(), ids=CODE)
def test_code(study: Study, file: str, expected: str) -> None:
    path = study.folder / "package/rankwise" / file
    edit(path, "# edited" if path.suffix == ".yaml" else "EDITED = True")
    methods = file.startswith(("model/", "decompose/", "allocate/", "refine/"))
    check(study, expected, writers=WRITERS if methods else {"code"})


def test_a_comment_in_the_code_runs_nothing(study: Study) -> None:
    for file in CODE:
        if file.endswith(".py"):
            edit(study.folder / "package/rankwise" / file)
    check(study, "", writers={"code"})


@pytest.mark.parametrize(("change", "expected"), RULES.items(), ids=[file for file, *_ in RULES])
def test_rule(study: Study, change: tuple[str, str, str], expected: str) -> None:
    file, before, after = change
    path = study.folder / "package/rankwise/_workflow/rules" / file
    text = path.read_text()
    assert before in text
    edit(path)
    check(study, "", writers={"code"})
    path.write_text(text.replace(before, after))
    assert study.snakemake_would_run() == named(expected, set(study.stages()))


@pytest.mark.parametrize(("file", "expected"), INPUTS.items(), ids=INPUTS)
def test_input(study: Study, file: str, expected: str) -> None:
    edit(study.folder / "inputs" / file)
    check(study, expected, writers=set())


def test_a_run_added(study: Study) -> None:
    study.change("runs.third={decompose: svd, allocate: uniform, keep: 0.4}")
    # The first two write fingerprints and the graph; the second stops DVC.
    assert study.dvc_would_run() == WRITERS
    study.print_dvc()
    check(study, f"*[@-]third {END}", writers=WRITERS)


def test_no_run_is_timed(study: Study) -> None:
    study.change("speed.batches=[]")
    study.print_dvc()
    assert not [name for name in study.stages() if name.startswith("speed")]
    check(study, END, writers=WRITERS)


def test_a_study_that_refines_nothing_hears_nothing_of_it(study: Study) -> None:
    study.change("runs={plain: {decompose: svd, allocate: uniform, keep: 0.6}}")
    assert "Exception" not in study.do("snakemake", "--dry-run", "--quiet", "host")


def test_a_family_of_the_study(study: Study) -> None:
    family = study.folder / "families/own.yaml"
    family.parent.mkdir()
    family.write_bytes(
        (study.folder / "package/rankwise/model/family_files/llama.yaml").read_bytes()
    )
    study.print_dvc()
    check(study, EVERYTHING, writers=set())


def test_a_comment_in_params_runs_nothing(study: Study) -> None:
    edit(study.folder / "params.yaml")
    check(study, "", writers={"code"})
