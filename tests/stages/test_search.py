"""A search whose trials are jobs writes the bytes of one that is a single job."""

import shutil

import pytest

from rankwise.artifacts.tokens import Tokens
from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import read_checksummed_lines, to_checksummed_lines
from rankwise.params.runs import Run
from rankwise.stages import allocate, suggest, trial
from tests.checkpoints import prepare

SEARCH = {"multiple": 1, "floor": 0.05, "batch": 4, "trials": 5, "q": 2, "seed": 3, "startup": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    study = prepare(tmp_path_factory.mktemp("search"), "untied", "svd").study
    shutil.copy(study / "calibration", study / "search")
    write_json(
        study / "runs.it.json",
        Run(decompose="svd", allocate="search", keep=0.6, seed=7).model_dump(),
    )
    return study


@pytest.mark.parametrize("method", ["hyperopt", "gp"])
def test_jobs_of_a_search_write_the_bytes_of_one_job(made, method, tmp_path):
    write_json(tmp_path / "params.json", {"method": method, "validation": 3, **SEARCH})
    shared = {
        "params": tmp_path / "params.json",
        "run": made / "runs.it.json",
        "build": made / "build.json",
        "compute": made / "compute.json",
        "model": made / "data/prepare/model.json",
        "factors": [made / "factors"],
    }
    search = made / "search"

    def rows(trials):
        return [tmp_path / f"trial_{number}.jsonl" for number in trials]

    for number, trials in enumerate([[0, 1], [2, 3], [4]]):
        out = tmp_path / f"round_{number}.jsonl"
        before = rows(range(trials[0]))
        suggest.command(**shared, search=search, number=number, rows=before, out=out)
        for one in reversed(trials):
            [row] = rows([one])
            trial.command(**shared, search=search, suggestions=out, trial=one, out=row)
    for name, given in {"jobs": {"rows": rows(range(5))}, "one": {"search": search}}.items():
        allocate.command(
            **shared, **given, work=tmp_path / f"{name}.work",
            trials=tmp_path / f"{name}.trials", out=tmp_path / f"{name}.json",
        )  # fmt: skip
    assert (
        len(Tokens.load(search).ids)
        > len(read_checksummed_lines(rows([0])[0])[0]["sequences"])
        == 3
    )
    for end in ("trials", "json"):
        assert (tmp_path / f"jobs.{end}").read_bytes() == (tmp_path / f"one.{end}").read_bytes()
    with pytest.raises(RankwiseError, match=r"rows of trials \[0, 1\] given, expected .* 0 to 4"):
        allocate.command(
            **shared, rows=rows([0, 1]), work=tmp_path / "work",
            trials=tmp_path / "trials", out=tmp_path / "out",
        )  # fmt: skip
    with pytest.raises(RankwiseError, match=r"round 1 follows 2 trials, rows of trials \[0\]"):
        suggest.command(**shared, number=1, rows=rows([0]), out=tmp_path / "out")
    with pytest.raises(RankwiseError, match=r"no suggestion for trial 4, but for \[0, 1\]"):
        trial.command(
            **shared, search=search, suggestions=tmp_path / "round_0.jsonl", trial=4,
            out=tmp_path / "out",
        )  # fmt: skip
    for key, value, says in (
        ("shares", {"q.0": 0.5}, r"trial 0: expected shares of .*, found q\.0; .* another search"),
        ("sequences", 3, r"row 1\.sequences: Input should be a valid list; make it again"),
        ("sequences", [], r"row 1\.sequences: List should have at least 1 item"),
        ("trial", -1, r"row 1\.trial: Input should be greater than or equal to 0"),
    ):
        [first, *_] = read_checksummed_lines(tmp_path / "round_0.jsonl")
        (tmp_path / "wrong").write_text(to_checksummed_lines([first | {key: value}]))
        with pytest.raises(RankwiseError, match=says):
            trial.command(
                **shared, search=search, suggestions=tmp_path / "wrong", trial=0,
                out=tmp_path / "out",
            )  # fmt: skip
    for wrong, says in {
        "shares": r"trial 0: expected shares of .*, found none; .* another search",
        "sequences": "trial 0: expected the sequences to score on, found none",
        "perplexity": "row 1: Value error, a trial that is ok has a perplexity",
        "objective": r"row 1\.objective: Field required; make it again with: rm -r",
    }.items():
        [first] = read_checksummed_lines(rows([0])[0])
        del first[wrong]
        (tmp_path / "wrong").write_text(to_checksummed_lines([first]))
        with pytest.raises(RankwiseError, match=says):
            suggest.command(
                **shared, number=1, rows=[tmp_path / "wrong", *rows([1])], out=tmp_path / "out"
            )
    assert not (tmp_path / "out").exists()
    assert (
        to_checksummed_lines(read_checksummed_lines(tmp_path / "one.trials"))
        == (tmp_path / "one.trials").read_text()
    )
