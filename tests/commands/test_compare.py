"""`rankwise compare`: what differs between two runs, as JSON and on a terminal."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwise.cli import app
from rankwise.commands.recorded import read_report_paths
from rankwise.errors import RankwiseError
from rankwise.evaluate.paired import pair_runs
from rankwise.params.report import Report
from rankwise.records.allocation import AllocationRecord, LinearRank
from rankwise.records.items import Items
from rankwise.records.scores import Scores
from rankwise.report.comparison import print_comparison
from rankwise.results.compare import compare_runs


def said(*arguments: str) -> str:
    return CliRunner().invoke(app, ["compare", *arguments], catch_exceptions=False).stdout


def test_json_holds_what_the_records_say(here: Path) -> None:
    found = json.loads(said("bolaco-80", "svd-50", "--json"))
    assert found["parameters"] == {
        "keep": [0.8, 0.5],
        "decompose": ["pooled_pca", "svd"],
        "decompose.method": ["pooled_pca", "svd"],
        "allocate": ["hyperopt", "uniform"],
        "allocate.method": ["hyperopt", "uniform"],
        "allocate.trials": [8, None],
    }
    names = ("bolaco-80", "svd-50")
    ours, theirs = (AllocationRecord.load(here / f"allocate/{name}.json") for name in names)
    kept = [
        [one.linears[f"model.layers.{layer}.mlp.up_proj"].parameters / (512 * 192) for layer in range(4)]
        for one in (ours, theirs)
    ]  # fmt: skip
    up = found["kinds"]["up"]
    assert (up["linears"], up["differ"]) == (4, 4)
    assert up["kept"] == pytest.approx([sum(values) / 4 for values in kept])
    assert found["kinds"]["v"]["mean_rank"][0] == 64  # left dense by the one
    apart = [abs(linear["kept"][0] - linear["kept"][1]) for linear in found["largest"]]
    assert apart == sorted(apart, reverse=True)
    scores = [Scores.load(here / f"scores/{name}.json") for name in names]
    assert found["scores"]["perplexity"] == [one.perplexity for one in scores]
    assert found["scores"]["arc"] == [one.zero_shot["arc"].acc for one in scores]
    items = [Items.load(here / f"items/{name}.json") for name in names]
    assert found["pair"] == pair_runs(*items, Report(resamples=200)).model_dump(mode="json")


def test_text_shows_differences_noise_and_tests(here: Path) -> None:
    text = said("bolaco-80", "svd-50")
    assert "bolaco-80 against svd-50" in text
    assert "parameters that differ" in text
    assert "McNemar" in text
    again = said("svd-80", "svd-80")
    assert "parameters that differ: none" in again
    assert "largest differences: none" in again
    assert again.count("≈ +0.00") == 7  # perplexity, five tasks, their average


def test_words_of_others_are_no_markup_of_the_terminal(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare_runs(read_report_paths().load_results(), "svd-80", "svd-50")
    hostile = {"decompose.words": ("[/red]", "[bold]x")}
    print_comparison(found.model_copy(update={"parameters": hostile}))
    assert re.search(r"decompose\.words +\[/red\] +\[bold\]x", capsys.readouterr().out)


def test_dense_and_refined_runs(here: Path) -> None:
    against_dense = json.loads(said("svd-80", "dense", "--json"))
    assert against_dense["kinds"] == {}
    assert against_dense["parameters"]["keep"] == [0.8, None]
    refined = json.loads(said("svd-50-refined", "svd-50", "--json"))
    assert refined["parameters"]["refine"] == ["blockwise", None]
    assert refined["largest"][0]["kept"][0] == refined["largest"][0]["kept"][1]


def test_types_are_those_of_the_records_and_not_of_the_names(here: Path) -> None:
    """GPT-2 names two linears of a block `c_proj`: the families tell them apart, their names do not."""
    for run, rank in {"svd-80": 30, "svd-50": 12}.items():
        path = here / f"allocate/{run}.json"
        linears = {
            f"transformer.h.0.{name}": LinearRank(
                layer=0,
                kind=kind,
                rank=rank,
                shape=shape,
                parameters=rank * sum(shape),
                relative_error=None,
            )
            for name, kind, shape in (
                ("attn.c_attn", "qkv", (192, 64)),
                ("attn.c_proj", "o", (64, 64)),
                ("mlp.c_fc", "up", (256, 64)),
                ("mlp.c_proj", "down", (64, 256)),
            )
        }
        AllocationRecord.load(path).model_copy(update={"linears": linears}).save(path)
    found = json.loads(said("svd-80", "svd-50", "--json"))
    assert set(found["kinds"]) == {"qkv", "o", "up", "down"}
    assert all(ranks["linears"] == 1 for ranks in found["kinds"].values())


def test_names_that_are_none(here: Path) -> None:
    with pytest.raises(RankwiseError, match=r"no scores of a run 'svd-8' .*did you mean 'svd-80'"):
        said("svd-8", "dense")
    runs = json.loads((here / "params/runs.json").read_text())
    (here / "params/runs.json").write_text(json.dumps(runs[1:]))
    with pytest.raises(RankwiseError, match=r"params\.yaml names it no more"):
        said("svd-80", "dense")
