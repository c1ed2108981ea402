"""No order of Snakemake, DVC and changes misses a change, or sees one where there is none."""

from tests.workflow.studies import Study

OTHER = "decompose.svd.dense=[o]"
BACK = "decompose.svd.dense=[]"


def test_snakemake_then_dvc_then_back_in_snakemake(study: Study) -> None:
    first = study.hashes()
    study.change(OTHER)
    study.do("dvc", "repro")
    assert study.hashes() != first
    assert study.snakemake_would_run() == set()
    study.change(BACK)
    assert "decompose-dense-svd-block_0" in study.snakemake_would_run()
    study.do("snakemake")
    assert study.hashes() == first


def test_dvc_then_a_change_is_seen_by_snakemake(study: Study) -> None:
    study.change(OTHER)
    study.do("dvc", "repro")
    study.change("allocate.uniform.floor=0.3")
    assert "allocate-plain" in study.snakemake_would_run()
    assert "decompose-dense-svd-block_0" not in study.snakemake_would_run()


def test_snakemake_and_commit_then_a_change_is_seen_by_dvc(study: Study) -> None:
    study.change(OTHER)
    study.do("snakemake")
    study.do("dvc", "commit", "--force", "--quiet")
    assert study.dvc_would_run() == set()
    assert study.snakemake_would_run() == set()
    study.change(BACK)
    assert "decompose-dense-svd-block_0" in study.dvc_would_run()


def test_dvc_takes_results_from_its_cache_but_never_the_sections(study: Study) -> None:
    seen = {}
    for setting in (OTHER, BACK, OTHER):
        study.change(setting)
        said = study.do("dvc", "repro")
        state = study.hashes(), (study.folder / "data/params/decompose.svd.json").read_text()
        assert seen.setdefault(setting, state) == state
    assert "'decompose-dense-svd-block_0' is cached" in said
    assert seen[OTHER] != seen[BACK]
    assert study.snakemake_would_run() == set()


def test_an_old_state_checked_out_brings_its_sections(study: Study) -> None:
    files = {name: (study.folder / name).read_text() for name in ("params.yaml", "dvc.lock")}
    section = (study.folder / "data/params/decompose.svd.json").read_text()
    study.change(OTHER)
    study.do("dvc", "repro")
    for name, text in files.items():
        (study.folder / name).write_text(text)
    study.do("dvc", "checkout")
    assert (study.folder / "data/params/decompose.svd.json").read_text() == section
    assert study.dvc_would_run() == set()


def test_a_run_added_stops_dvc_once(study: Study) -> None:
    study.change("runs.third={decompose: svd, allocate: uniform, keep: 0.4}")
    first = study.call("dvc", "repro")
    assert first.returncode != 0
    assert "dvc.yaml was brought up to date with params.yaml; run 'dvc repro' again" in first.stderr
    assert not (study.folder / "data/scores/third.json").exists()
    study.do("dvc", "repro")
    assert (study.folder / "data/scores/third.json").exists()
    assert study.dvc_would_run() == study.snakemake_would_run() == set()


def test_a_run_removed_leaves_the_report(study: Study) -> None:
    params = study.folder / "params.yaml"
    kept = [line for line in params.read_text().splitlines() if "searched:" not in line]
    params.write_text("\n".join(kept) + "\n")
    assert study.snakemake_would_run() == {"report", "track"}
    study.call("dvc", "repro")
    study.do("dvc", "repro")
    assert study.snakemake_would_run() == study.dvc_would_run() == set()


def test_only_times_differ(study: Study) -> None:
    """As after a checkout: `rankwise run` asks DVC and runs nothing."""
    (study.folder / "package/rankwise/decompose/svd.py").touch()
    assert study.snakemake_would_run() != set()
    before = study.hashes()
    study.call("python", "-m", "rankwise", "run")
    assert study.hashes() == before
    assert study.snakemake_would_run() == set()


def test_a_killed_search_is_no_finished_one(study: Study) -> None:
    (study.folder / "data/allocate/searched.json").unlink()
    assert "allocate-searched" in study.dvc_would_run()
    (study.folder / "data/checkpoints/searched.json").unlink()
    assert {"allocate-searched", "build-searched"} <= study.snakemake_would_run()
