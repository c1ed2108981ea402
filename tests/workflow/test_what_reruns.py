"""Changing one thing re-runs the jobs that depend on it, no more and no less, in both engines."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.workflow.studies import Study, named

END = "report track"
MEASURED = f"refine-* evaluate-[!d]* speed-[!d]* {END}"
AFTER_STATISTICS = f"decompose-* allocate-* build-* {MEASURED}"
TRAINED = f"refine-trained evaluate-trained speed-trained {END}"
PLAIN = f"allocate-plain build-plain evaluate-plain speed-plain {TRAINED}"
SEARCHED = f"allocate-searched build-searched evaluate-searched speed-searched {END}"
SECOND_STEP = "covariance-ours* fisher-ours* decompose-ours*"
OURS = f"allocate-ours* build-ours* {SECOND_STEP} evaluate-ours speed-ours {END}"

SECTIONS = {
    "prepare.model.dtype=bfloat16": "prepare_model sample-* covariance-* fisher-* "
    f"evaluate-* speed-* {AFTER_STATISTICS}",
    "prepare.corpora.train.characters=5000": "prepare_corpora sample-* covariance-* fisher-* "
    f"evaluate-* {AFTER_STATISTICS}",
    "prepare.tasks.source=null": f"prepare_tasks evaluate-* {END}",
    "sample.calibration.seed=1": "sample-calibration sample-search covariance-* fisher-* "
    f"{AFTER_STATISTICS}",
    "sample.search.seed=1": f"sample-search {SEARCHED}",
    "sample.test.sequences=4": f"sample-test evaluate-* {END}",
    "covariance.batch=2": f"covariance-* fisher-ours* {AFTER_STATISTICS}",
    "fisher.batch=2": f"fisher-* decompose-dense-kfac-* {OURS}",
    "decompose.svd.dense=[o]": f"decompose-dense-svd-* {PLAIN}",
    "decompose.pooled_pca.dense=[o]": f"decompose-dense-pooled_pca-* {SEARCHED}",
    "decompose.kfac.damping=1e-5": f"decompose-*-kfac-* {OURS}",
    "allocate.uniform.floor=0.2": f"{PLAIN} {OURS}",
    "allocate.hyperopt.trials=3": SEARCHED,
    "refine.blockwise.epochs=2": TRAINED,
    "runs.plain.keep=0.5": PLAIN,
    "runs.plain={decompose: svd, allocate: uniform, total_params: 17000}": PLAIN,
    "runs.searched.keep=0.5": SEARCHED,
    "runs.ours.keep=0.5": OURS,
    "build.dtype=float16": f"allocate-* build-* {SECOND_STEP} {MEASURED}",
    "evaluate.batch=4": f"evaluate-* {END}",
    "speed.repeats=4": f"speed-* {END}",
    "report.title=other": END,
    "track.experiment=other": "track",
    "compute.threads=2": f"covariance-* fisher-* evaluate-* speed-* {AFTER_STATISTICS}",
}
EVERYTHING = f"prepare_model sample-* covariance-* fisher-* evaluate-* speed-* {AFTER_STATISTICS}"
CODE = {
    "model/family_files/llama.yaml": f"{EVERYTHING} prepare_corpora prepare_tasks",
    "decompose/svd.py": f"decompose-dense-svd-* {PLAIN}",
    "decompose/pooled_pca.py": f"decompose-dense-pooled_pca-* {SEARCHED}",
    "decompose/kfac.py": f"decompose-*-kfac-* {OURS}",
    "allocate/uniform.py": f"{PLAIN} {OURS}",
    "allocate/hyperopt.py": SEARCHED,
    "refine/blockwise.py": TRAINED,
    "stages/report.py": END,
    "_workflow/rules/speed.smk": f"speed-* {END}",
}
INPUTS = {
    "train.txt": f"prepare_corpora sample-* covariance-* fisher-* evaluate-* {AFTER_STATISTICS}",
    "tasks/tiny.jsonl": f"prepare_tasks evaluate-* {END}",
    "tasks/one_more.yaml": f"prepare_tasks evaluate-* {END}",
}


def check(study: Study, expected: str, *, cut: bool) -> None:
    """Compare both engines with the table; ``cut`` says whether DVC cuts the sections anew as well."""
    jobs = named(expected, set(study.stages()))
    with ThreadPoolExecutor() as pool:
        by_dvc = pool.submit(study.dvc_would_run)
        by_snakemake = pool.submit(study.snakemake_would_run)
    assert by_snakemake.result() == jobs
    assert by_dvc.result() == (jobs | {"params"} if cut else jobs)


def edit(path: Path) -> None:
    """Add a comment, now: later than every artifact."""
    with path.open("a") as stream:
        stream.write("\n# edited\n")
    now = time.time()
    assert path.stat().st_mtime <= now


def test_finished_study_has_nothing_to_do(study: Study) -> None:
    assert study.snakemake_would_run() == set()
    assert study.dvc_would_run() == set()


@pytest.mark.parametrize(("setting", "expected"), SECTIONS.items(), ids=SECTIONS)
def test_section(study: Study, setting: str, expected: str) -> None:
    section = setting.split(".", maxsplit=1)[0]
    if section in ("build",):  # all defaults so far: written out, it becomes a parameter in DVC
        study.change(setting.replace("float16", "null"))
        study.print_dvc()
        study.do("dvc", "commit", "--force", "--quiet")
    study.change(setting)
    check(study, expected, cut=True)


def test_every_section_is_in_the_table(study: Study) -> None:
    named_sections = {setting.split(".", maxsplit=1)[0] for setting in SECTIONS}
    from rankwise.params.stages import Params

    assert named_sections == set(Params.model_fields)


@pytest.mark.parametrize(("file", "expected"), CODE.items(), ids=CODE)
def test_code(study: Study, file: str, expected: str) -> None:
    edit(study.folder / "package/rankwise" / file)
    check(
        study,
        expected,
        cut=file.startswith(("model/", "decompose/", "allocate/", "refine/", "_workflow/")),
    )


@pytest.mark.parametrize(("file", "expected"), INPUTS.items(), ids=INPUTS)
def test_input(study: Study, file: str, expected: str) -> None:
    edit(study.folder / "inputs" / file)
    check(study, expected, cut=False)


def test_a_run_added(study: Study) -> None:
    study.change("runs.third={decompose: svd, allocate: uniform, keep: 0.4}")
    assert study.dvc_would_run() == {
        "params",
        "report",
        "track",
    }  # the first prints the graph, and stops
    study.print_dvc()
    check(study, f"*-third {END}", cut=True)


def test_no_run_is_timed(study: Study) -> None:
    study.change("speed.batches=[]")
    study.print_dvc()
    assert not [name for name in study.stages() if name.startswith("speed")]
    check(study, END, cut=True)


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
    check(study, EVERYTHING, cut=False)


def test_a_comment_in_params_runs_nothing(study: Study) -> None:
    edit(study.folder / "params.yaml")
    check(study, "", cut=True)
