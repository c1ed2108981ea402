"""No order of Snakemake, DVC and changes misses a change, or sees one where there is none."""

from ruamel.yaml import YAML

from tests.workflow.studies import IN_GIT, Study

SVD = "decompose@dense-svd-0"
OTHER = "decompose.svd.dense=[o]"
BACK = "decompose.svd.dense=[]"


def test_snakemake_then_dvc_then_back_in_snakemake(small: Study) -> None:
    first = small.hashes()
    small.change(OTHER)
    small.do("dvc", "repro")
    assert small.hashes() != first
    assert small.snakemake_would_run() == set()
    small.change(BACK)
    assert SVD in small.snakemake_would_run()
    small.do("snakemake")
    assert small.hashes() == first


def test_dvc_then_a_change_is_seen_by_snakemake(small: Study) -> None:
    small.change(OTHER)
    small.do("dvc", "repro")
    small.change("allocate.uniform.floor=0.3")
    assert "allocate@plain" in small.snakemake_would_run()
    assert SVD not in small.snakemake_would_run()


def test_snakemake_and_commit_then_a_change_is_seen_by_dvc(small: Study) -> None:
    small.change(OTHER)
    small.do("snakemake")
    small.do("dvc", "commit", "--force", "--quiet")
    assert small.dvc_would_run() == set()
    assert small.snakemake_would_run() == set()
    small.change(BACK)
    assert "params" in small.dvc_would_run()
    small.print_dvc()
    assert SVD in small.dvc_would_run()


def test_dvc_takes_results_from_its_cache_but_never_the_sections(small: Study) -> None:
    seen = {}
    for setting in (OTHER, BACK, OTHER):
        small.change(setting)
        said = small.do("dvc", "repro")
        state = small.hashes(), (small.folder / "data/params/decompose.svd.json").read_text()
        assert seen.setdefault(setting, state) == state
    assert f"'{SVD}' is cached" in said
    assert seen[OTHER] != seen[BACK]
    assert small.snakemake_would_run() == set()


def test_an_old_state_checked_out_brings_its_sections(small: Study) -> None:
    tracked = [small.folder / name for name in ("params.yaml", "dvc.lock", *IN_GIT)]
    paths = [path for name in tracked for path in name.parent.glob(name.name)]
    files = {path: path.read_text() for path in paths}
    section = (small.folder / "data/params/decompose.svd.json").read_text()
    small.change(OTHER)
    small.do("dvc", "repro")
    for path, text in files.items():  # as Git does
        path.write_text(text)
    small.do("dvc", "checkout")
    assert (small.folder / "data/params/decompose.svd.json").read_text() == section
    assert small.dvc_would_run() == set()


def test_a_run_added_stops_dvc_once(small: Study) -> None:
    small.change("runs.third={decompose: svd, allocate: uniform, keep: 0.4}")
    first = small.call("dvc", "repro")
    assert first.returncode != 0
    assert "dvc.yaml is up to date now; run 'dvc repro' again" in first.stderr
    assert not (small.folder / "data/scores/third.json").exists()
    small.do("dvc", "repro")
    assert (small.folder / "data/scores/third.json").exists()
    assert small.dvc_would_run() == small.snakemake_would_run() == set()


def test_a_run_removed_leaves_the_report(small: Study) -> None:
    params, yaml = small.folder / "params.yaml", YAML()
    given = yaml.load(params)
    del given["runs"]["searched"]
    yaml.dump(given, params)
    assert small.snakemake_would_run() == {"report", "track"}
    small.call("dvc", "repro")
    small.do("dvc", "repro")
    assert small.snakemake_would_run() == small.dvc_would_run() == set()


def test_only_times_differ(small: Study) -> None:
    """As after a checkout: `rankwise run` asks DVC and runs nothing."""
    (small.folder / "data/code/decompose.svd.json").touch()
    assert small.snakemake_would_run() != set()
    before = small.hashes()
    small.call("python", "-m", "rankwise", "run")
    assert small.hashes() == before
    assert small.snakemake_would_run() == set()


def test_a_killed_search_is_no_finished_one(small: Study) -> None:
    (small.folder / "data/allocate/searched.json").unlink()
    assert "allocate_sample@searched" in small.dvc_would_run()
    (small.folder / "data/checkpoints/searched.json").unlink()
    assert {"allocate_sample@searched", "build@searched"} <= small.snakemake_would_run()
