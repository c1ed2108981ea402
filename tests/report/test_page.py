"""The report: numbers in place, one file that loads nothing, words of others as words."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwise.cli import app
from rankwise.errors import RankwiseError
from rankwise.files import write_json
from rankwise.records import Asked, Curve, RefineRecord, Scores, SpeedRecord, Summary, asked_as
from rankwise.report import figures
from rankwise.report.curves import NAMED, outcome, refinement_curves
from rankwise.report.page import render
from rankwise.report.study import best, gather, read_trials
from rankwise.target import Target
from tests.report.conftest import FAILED_TRIAL, REFINED, RETURNED, RUNS, make_refinement

CELLS = (
    "asked",
    "keep_reached",
    "perplexity",
    "zero_shot_average",
    "parameters",
    "checkpoint_bytes",
    "tokens_per_second",
)


def report(arguments: list[str]) -> None:
    CliRunner().invoke(app, ["report", *arguments], catch_exceptions=False)


class Page(HTMLParser):
    """Rows of the table by run, and everything that would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.loads: list[str] = []
        self.run: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "tr":
            self.run = given.get("data-run")
        if tag == "td" and self.run is not None:
            self.rows.setdefault(self.run, []).append(given["data-value"] or "")
        self.loads += [
            str(given[key]) for key in ("src", "srcset", "data", "action") if key in given
        ]
        if "href" in given and not str(given["href"]).startswith("#"):
            self.loads.append(str(given["href"]))
        if tag in ("link", "iframe", "object", "embed", "img", "base"):
            self.loads.append(tag)


def test_table_holds_the_numbers(study: Path, arguments: list[str]) -> None:
    report(arguments)
    page = Page((study / "report/index.html").read_text())
    assert list(page.rows) == ["dense", *RUNS, *REFINED]
    summary = Summary.load(study / "report/summary.json")
    assert [row.run for row in summary.rows] == ["dense", *RUNS, *REFINED]
    for row in summary.rows:
        values = row.model_dump(exclude={"run", *Asked.model_fields}) | {"asked": row.asked.value}
        shown = dict(zip(CELLS, map(float, page.rows[row.run]), strict=True))
        assert shown == values
        scores = Scores.load(study / f"scores/{row.run}.json")
        assert (row.perplexity, row.parameters) == (scores.perplexity, scores.parameters)


def test_page_is_one_file_that_loads_nothing(study: Path, arguments: list[str]) -> None:
    report(arguments)
    text = (study / "report/index.html").read_text()
    assert Page(text).loads == []
    assert text.count("plotly.js v") == 1
    for style in re.findall(r"<style>(.*?)</style>", text, re.DOTALL):
        assert "url(" not in style
        assert "@import" not in style
    assert "default-src 'none'" in text
    assert len(text) < 6_000_000


def test_same_records_same_bytes(study: Path, arguments: list[str]) -> None:
    report(arguments)
    first = (study / "report/index.html").read_bytes()
    report(arguments)
    assert (study / "report/index.html").read_bytes() == first


def test_words_of_others_stay_words(study: Path, arguments: list[str]) -> None:
    hostile = "</title></script><script>alert(1)</script><img src=x onerror=alert(1)>"
    write_json(study / "params/report.json", {"title": hostile})
    scores = json.loads((study / "scores/svd-80.json").read_text())
    scores["zero_shot"][hostile] = scores["zero_shot"].pop("arc")
    for path in (study / "scores").glob("*.json"):
        scores |= {"run": path.stem}
        write_json(path, scores)
    report(arguments)
    text = (study / "report/index.html").read_text()
    assert "<script>alert" not in text
    assert "<img" not in Page(text).loads
    assert text.count("<script") == 3
    assert "&lt;script&gt;alert(1)" in text


def test_without_tasks_and_without_runs(study: Path, arguments: list[str]) -> None:
    scores = json.loads((study / "scores/dense.json").read_text())
    write_json(study / "scores/dense.json", scores | {"zero_shot": {}, "zero_shot_average": None})
    dense = [f"{study}/scores/dense.json", f"{study}/speed/dense.json"]
    report([*arguments[:6], "--scores", dense[0], "--speed", dense[1]])
    assert Page((study / "report/index.html").read_text()).rows["dense"][3] == ""


def test_gaps_are_named(study: Path, arguments: list[str]) -> None:
    scores = [Scores.load(path) for path in sorted((study / "scores").glob("*.json"))]
    speeds = [SpeedRecord.load(path) for path in sorted((study / "speed").glob("*.json"))]
    with pytest.raises(RankwiseError, match="run 'svd-80' has scores but no speed record"):
        gather(scores[-1:], speeds[:-1], [], [], {})
    with pytest.raises(RankwiseError, match="run 'bolaco-50' has scores but no allocation record"):
        gather(scores, speeds, [], [], {})
    with pytest.raises(RankwiseError, match="no scores of the dense model"):
        gather([], speeds, [], [], {})
    with pytest.raises(RankwiseError, match="one --trials for every --allocation"):
        report(arguments[:-2])
    (study / "broken.jsonl").write_text("{")
    with pytest.raises(RankwiseError, match=r"broken\.jsonl is not JSON lines"):
        read_trials(study / "broken.jsonl")


def results_of(study: Path) -> list:
    from rankwise.records import AllocationRecord

    names = ["dense", *RUNS]
    return gather(
        [Scores.load(study / f"scores/{name}.json") for name in names],
        [SpeedRecord.load(study / f"speed/{name}.json") for name in names],
        [AllocationRecord.load(study / f"allocate/{name}.json") for name in RUNS],
        [],
        {name: read_trials(study / f"allocate/{name}.trials.jsonl") for name in RUNS},
    )


def test_best_is_among_runs_of_the_same_budget(study: Path) -> None:
    results = results_of(study)
    marks = best(results)
    for keep in (0.8, 0.5):
        rivals = [r for r in results if r.scores.keep_asked == keep]
        lowest = min(rivals, key=lambda r: r.scores.perplexity).name
        assert [
            name
            for name, column in marks
            if column == "perplexity" and name in {r.name for r in rivals}
        ] == [lowest]
    assert best(results[:2]) == set()


def test_budgets_of_every_kind_stand_in_the_table_as_they_were_asked(study: Path) -> None:
    """Two runs asked for bytes, one for parameters: rivals are those with the same budget."""
    results = results_of(study)
    asked = [
        ("checkpoint_bytes", 4_000_000),
        ("checkpoint_bytes", 4_000_000),
        ("total_params", 10**6),
    ]
    for place, (kind, value) in enumerate(asked, 1):
        fields = asked_as(Target(kind, value))
        scores = results[place].scores.model_copy(update=fields)
        results[place] = replace(results[place], scores=scores)
    page = render("budgets", results)
    assert Page(page).rows["svd-80"][0] == "4000000"
    for text in ("4.00 MB", "1,000,000", "checkpoint_bytes 4,000,000", "total_params 1,000,000"):
        assert text in page
    marked = {name for name, column in best(results) if column == "perplexity"}
    assert len(marked & {"svd-80", "pca-80"}) == 1
    assert "bolaco-80" not in marked


def test_figures_hold_the_records(study: Path) -> None:
    results = results_of(study)
    drawn = figures.search_convergence(results)["data"]
    assert [trace["name"] for trace in drawn] == [
        "bolaco-80",
        "bolaco-80",
        "bolaco-50",
        "bolaco-50",
    ]
    assert FAILED_TRIAL not in drawn[0]["x"]
    assert drawn[1]["y"] == sorted(drawn[1]["y"], reverse=True)
    heat = figures.ranks_map(results[2])["data"][0]
    assert heat["y"] == ["q", "k", "v", "o", "gate", "up", "down"]
    assert heat["x"] == [0, 1, 2, 3]
    assert heat["z"][2] == [1, 1, 1, 1]
    allocation = results[2].allocation
    assert allocation is not None
    linear = allocation.linears["model.layers.3.mlp.up_proj"]
    assert heat["z"][5][3] == pytest.approx(linear.parameters / (512 * 192))
    # Linears of one role and layer, such as experts, are one cell.
    more = allocation.linears | {"another": linear.model_copy(update={"parameters": 0})}
    several = replace(results[2], allocation=allocation.model_copy(update={"linears": more}))
    heat = figures.ranks_map(several)["data"][0]
    assert heat["z"][5][3] == pytest.approx(linear.parameters / (2 * 512 * 192))


def test_scale_is_logarithmic_where_values_need_it() -> None:
    assert figures.scale([3.0, 20.0]) == {}
    assert figures.scale([]) == {}
    wide = figures.scale([3.0, 4000.0])
    assert wide["type"] == "log"
    assert {"5", "100", "2,000"} <= set(wide["ticktext"])


def test_a_refined_run_stands_beside_its_base_with_its_allocation(study: Path) -> None:
    base = "bolaco-80"
    results = results_of(study)
    [start] = [result for result in results if result.name == base]
    record = RefineRecord(
        run="better",
        of=base,
        method="blockwise",
        parameters={"epochs": 4},
        training_sequences=7,
        held_out_sequences=1,
        sequence_length=128,
        dense_loss=0.9,
        loss_before=1.5,
        loss_after=1.0,
        returned_input=False,
        curves=[],
    )
    again = record.model_copy(update={"run": "best", "of": "better"})
    found = gather(
        [r.scores for r in results]
        + [start.scores.model_copy(update={"run": run}) for run in ("better", "best")],
        [r.speed for r in results]
        + [start.speed.model_copy(update={"run": run}) for run in ("better", "best")],
        [r.allocation for r in results if r.allocation],
        [record, again],
        {},
    )
    by_name = {result.name: result for result in found}
    for run in ("better", "best"):
        assert by_name[run].allocation == start.allocation
        assert by_name[run].method == f"{start.method} + blockwise"
    page = render("refined", found)
    assert "blockwise, from bolaco-80" in page
    assert "Held-out loss 1.5 before, 1 after, 0.9 dense [nats/token]." in page


def test_refinement_curves_hold_the_record() -> None:
    record = make_refinement("svd-50-refined")
    traces = refinement_curves(record)["data"]
    assert len(traces) == 3 * len(record.curves)
    for place, curve in enumerate(record.curves):
        held_out, train, best = traces[3 * place : 3 * place + 3]
        assert (held_out["x"], held_out["y"]) == (list(range(7)), curve.held_out)
        assert (train["x"], train["y"]) == (list(range(1, 7)), curve.train)
        assert (best["x"], best["y"]) == ([curve.best], [curve.held_out[curve.best]])
        assert held_out["name"] == f"block {curve.layer}"
    assert len({trace["line"]["color"] for trace in traces[::3]}) == len(record.curves)


def test_a_loss_that_is_not_finite_is_a_gap_and_many_blocks_share_a_short_legend() -> None:
    record = make_refinement(RETURNED)
    held_out, _, best = refinement_curves(record)["data"]
    assert held_out["name"] == "model"
    assert held_out["y"][-1] is None
    assert best["x"] == [1]
    untrained = Curve(layer=0, train=[], held_out=[0.5], best=0)
    many = [untrained.model_copy(update={"layer": layer}) for layer in range(NAMED + 1)]
    traces = refinement_curves(record.model_copy(update={"curves": many}))["data"]
    assert [t["name"] for t in traces if t["showlegend"]] == ["block 0", f"block {NAMED}"]


def test_the_page_says_where_the_input_was_returned(study: Path, arguments: list[str]) -> None:
    report(arguments)
    text = (study / "report/index.html").read_text()
    sentence = "no better than the input, svd-80, which is returned as it was."
    assert outcome(make_refinement(RETURNED)).endswith(sentence)
    # Once in the section on refinement, once in the run's record.
    assert text.count(sentence) == 2
    assert text.count("Held-out loss 1.5 before, 1 after, 0.9 dense [nats/token].") == 2
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    report([word for pair in pairs if "refined" not in pair[1] for word in pair])
    assert 'id="refinement"' not in (study / "report/index.html").read_text()
