"""The report: numbers in place, one file that loads nothing, words of others as words."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from rankwise.allocate.trials import read_rows
from rankwise.errors import RankwiseError
from rankwise.evaluate.paired import pair_runs
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import with_checksum
from rankwise.params.target import Target
from rankwise.records.asked import Asked, target_fields
from rankwise.records.items import Items
from rankwise.records.pairs import Difference
from rankwise.records.refine import Curve, RefineRecord
from rankwise.records.scores import Scores
from rankwise.records.speed import SpeedRecord
from rankwise.records.summary import Summary
from rankwise.report import figures
from rankwise.report.costs import read_costs
from rankwise.report.curves import NAMED, outcome, refinement_curves
from rankwise.report.searches import search_convergence
from rankwise.report.spectra import spectra_figure
from rankwise.report.table import points, relative
from rankwise.report.verdicts import describe_methods, find_verdicts
from rankwise.results.decompositions import predict_loss, read_decompositions
from rankwise.results.ranking import mark_best
from rankwise.results.run import RunResult, join_records
from tests.report.conftest import (
    FAILED_TRIAL,
    REFINED,
    RETURNED,
    RUNS,
    make_point,
    make_refinement,
)
from tests.report.results import GIVEN, page_of, report, results_of, study_of

CELLS = (
    "asked",
    "keep_reached",
    "perplexity",
    "zero_shot_average",
    "parameters",
    "checkpoint_bytes",
    "speed",
)


class Page(HTMLParser):
    """Rows of the table by run, where links lead, and everything that would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.links: list[str] = []
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
        if tag == "a":
            self.links.append(str(given["href"]))
        elif "href" in given:
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
        speed = SpeedRecord.load(study / f"speed/{row.run}.json")
        other = {"run", "against_dense", *Asked.model_fields}
        values = row.model_dump(exclude=other) | {
            "asked": row.asked.value,
            "speed": speed.tokens_per_second / speed.dense[-1].prefill.median,
        }
        shown = dict(zip(CELLS, map(float, page.rows[row.run]), strict=True))
        assert shown == values
        scores = Scores.load(study / f"scores/{row.run}.json")
        assert (row.perplexity, row.parameters) == (scores.perplexity, scores.parameters)


def test_page_is_one_file_that_loads_nothing(study: Path, arguments: list[str]) -> None:
    report(arguments)
    text = (study / "report/index.html").read_text()
    page = Page(text)
    assert page.loads == []
    for link in page.links:
        assert link.startswith("#") or (study / "report" / link).is_file(), link
    assert {"../scores/dense.json", "../items/svd-50.json", "../refine/svd-50-refined.json"} <= {
        *page.links
    }
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
        write_json(path, with_checksum(scores))
    for path in (study / "items").glob("*.json"):
        items = json.loads(path.read_text())
        items["continuations"][0]["text"] = hostile
        items["tasks"][hostile] = items["tasks"].pop("arc")
        write_json(path, with_checksum(items))
    report(arguments)
    text = (study / "report/index.html").read_text()
    assert "<script>alert" not in text
    assert "<img" not in Page(text).loads
    assert text.count("<script") == 3
    assert "&lt;script&gt;alert(1)" in text


def test_without_tasks_and_without_runs(study: Path, arguments: list[str]) -> None:
    scores = json.loads((study / "scores/dense.json").read_text())
    scores |= {"zero_shot": {}, "zero_shot_average": None}
    write_json(study / "scores/dense.json", with_checksum(scores))
    kinds = ("scores", "items", "speed")
    dense = [word for kind in kinds for word in (f"--{kind}", f"{study}/{kind}/dense.json")]
    report([*arguments[:6], *dense])
    assert Page((study / "report/index.html").read_text()).rows["dense"][3] == ""


def test_a_study_that_times_no_run_has_no_speed(study: Path, arguments: list[str]) -> None:
    left = list(arguments)
    while "--speed" in left:
        at = left.index("--speed")
        del left[at : at + 2]
    report(left)
    page = Page((study / "report/index.html").read_text())
    assert set(page.rows) == {"dense", *RUNS, *REFINED}
    assert all(len(row) == len(page.rows["dense"]) for row in page.rows.values())
    assert "tokens/s" not in (study / "report/index.html").read_text().lower()


def test_the_summary_holds_no_time(study: Path, arguments: list[str]) -> None:
    report(arguments)
    first = (study / "report/summary.json").read_bytes()
    for path in (study / "speed").glob("*.json"):
        record = SpeedRecord.load(path)
        slower = [make_point(point.batch, point.prefill.median / 2) for point in record.points]
        record.model_copy(update={"points": slower}).save(path)
    report(arguments)
    assert (study / "report/summary.json").read_bytes() == first


def test_gaps_are_named(study: Path, arguments: list[str]) -> None:
    scores = [Scores.load(path) for path in sorted((study / "scores").glob("*.json"))]
    items = [Items.load(path) for path in sorted((study / "items").glob("*.json"))]
    speeds = [SpeedRecord.load(path) for path in sorted((study / "speed").glob("*.json"))]
    with pytest.raises(RankwiseError, match="run 'svd-80' has scores but no speed record"):
        join_records(scores[-1:], items, speeds[:-1], [], [], {})
    with pytest.raises(RankwiseError, match="run 'bolaco-50' has scores but no allocation record"):
        join_records(scores, items, speeds, [], [], {})
    with pytest.raises(RankwiseError, match="run 'dense' has scores but no items record"):
        join_records(scores[2:3], items[:1], speeds, [], [], {})
    with pytest.raises(RankwiseError, match="no scores of the dense model"):
        join_records([], [], speeds, [], [], {})
    with pytest.raises(RankwiseError, match="one --trials for every --allocation"):
        report(arguments[:-2])
    (study / "broken.jsonl").write_text("{")
    with pytest.raises(RankwiseError, match=r"broken\.jsonl is not JSON lines"):
        read_rows(study / "broken.jsonl")


def test_best_is_among_runs_of_the_same_budget(study: Path) -> None:
    results = results_of(study)
    marks = mark_best(results, GIVEN)
    for keep in (0.8, 0.5):
        rivals = [r for r in results if r.scores.keep_asked == keep]
        lowest = min(rivals, key=lambda r: r.scores.perplexity).name
        assert [
            name
            for name, column in marks
            if column == "perplexity" and name in {r.name for r in rivals}
        ] == [lowest]
    assert mark_best(results[:2], GIVEN) == set()


def test_the_page_begins_with_what_stands_out_at_every_budget(study: Path) -> None:
    results = results_of(study)
    marks = mark_best(results, GIVEN)
    found = {verdict.asked: verdict for verdict in find_verdicts(results, marks)}
    assert list(found) == ["keep 0.8", "keep 0.5"]
    for verdict in found.values():
        rivals = [r for r in results if str(r.scores.asked) == verdict.asked]
        assert verdict.runs == len(rivals) >= 2
        assert verdict.first.scores.perplexity == min(r.scores.perplexity for r in rivals)
        assert {verdict.first.name, *verdict.alike} == {
            r.name for r in rivals if (r.name, "perplexity") in marks
        }
        assert set(verdict.zero_shot) == {
            r.name for r in rivals if (r.name, "zero_shot_average") in marks
        }
        size = verdict.first.scores.checkpoint_bytes / results[0].scores.checkpoint_bytes
        assert verdict.share == size
    text = page_of(study, results)
    [said] = re.findall(r"<li><b>keep 0.5</b> (.*?)</li>", text, re.DOTALL)
    assert f'<a href="#run-{found["keep 0.5"].first.name}">' in said
    assert find_verdicts(results[:2], marks) == []


def test_every_method_is_explained_by_its_first_sentence(study: Path) -> None:
    found = describe_methods(results_of(study))
    assert {kind: set(named) for kind, named in found.items()} == {
        "Decomposers": {"svd", "pooled_pca"},
        "Allocators": {"uniform", "hyperopt"},
    }
    sentence = "Every compressible matrix keeps the same share of its break-even rank."
    assert found["Allocators"]["uniform"] == sentence
    assert "<code>W ≈ U_r S_r V_rᵀ</code>" in found["Decomposers"]["svd"]


def test_budgets_of_every_kind_stand_in_the_table_as_they_were_asked(study: Path) -> None:
    """Two runs asked for bytes, one for parameters: rivals are those with the same budget."""
    results = results_of(study)
    asked = [
        ("checkpoint_bytes", 4_000_000),
        ("checkpoint_bytes", 4_000_000),
        ("total_params", 10**6),
    ]
    for place, (kind, value) in enumerate(asked, 1):
        fields = target_fields(Target(kind, value))
        scores = results[place].scores.model_copy(update=fields)
        results[place] = replace(results[place], scores=scores)
    page = page_of(study, results)
    assert Page(page).rows["svd-80"][0] == "4000000"
    for text in ("4.00 MB", "1,000,000", "checkpoint_bytes 4,000,000", "total_params 1,000,000"):
        assert text in page
    marked = {name for name, column in mark_best(results, GIVEN) if column == "perplexity"}
    assert len(marked & {"svd-80", "pca-80"}) == 1
    assert "bolaco-80" not in marked


def test_figures_hold_the_records(study: Path) -> None:
    results = results_of(study)
    drawn = search_convergence(results)["data"]
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
    found = join_records(
        [r.scores for r in results]
        + [start.scores.model_copy(update={"run": run}) for run in ("better", "best")],
        [r.items for r in results]
        + [start.items.model_copy(update={"run": run}) for run in ("better", "best")],
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
    page = page_of(study, found)
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


def test_noise_is_said_and_marks_allow_for_it(study: Path, arguments: list[str]) -> None:
    """A run as good as the best, item for item nearly the same, is marked too; one beyond the noise is not."""
    results = results_of(study)
    at_80 = [r for r in results if r.name in ("svd-80", "pca-80", "bolaco-80")]
    first = min(at_80, key=lambda r: r.scores.perplexity)
    losses = first.items.texts["test"].losses
    near = [loss + (-1) ** place * 1e-3 for place, loss in enumerate(losses)]
    text = first.items.texts["test"].model_copy(update={"losses": near})
    twin = replace(
        first,
        scores=first.scores.model_copy(update={"run": "twin"}),
        items=first.items.model_copy(update={"run": "twin", "texts": {"test": text}}),
    )
    marked = {run for run, column in mark_best([*results, twin], GIVEN) if column == "perplexity"}
    others = {r.name for r in at_80} - {first.name}
    assert {first.name, "twin"} <= marked
    assert not others & marked
    same = pair_runs(twin.items, first.items, GIVEN)
    assert same.losses["test"].noise
    assert relative(same.losses["test"])[0].startswith("≈ +0.00 % [−0.01, ")
    assert points(Difference(mean=-0.5, low=-0.625, high=-0.4)) == ("−50.0 [−62.5, −40.0]", False)
    assert relative(Difference(mean=0, low=0, high=0)) == ("≈ +0.00 % [+0.00, +0.00]", True)


def test_a_run_that_is_not_there_is_a_gap(study: Path, arguments: list[str]) -> None:
    (study / "scores/pca-80.json").unlink()
    (study / "allocate/svd-50.trials.jsonl").unlink()
    report(arguments)
    text = (study / "report/index.html").read_text()
    left = ["dense", *(run for run in RUNS if run not in ("pca-80", "svd-50")), *REFINED]
    summary = Summary.load(study / "report/summary.json")
    assert [row.run for row in summary.rows] == [run for run in left if run != "svd-50-refined"]
    assert set(summary.gaps) == {"pca-80", "svd-50", "svd-50-refined"}
    assert "those of the run it started from are gone" in summary.gaps["svd-50-refined"]
    assert "run 'pca-80' has no scores: " in summary.gaps["pca-80"]
    assert "its stage evaluate did not end" in text
    (study / "scores/dense.json").unlink()
    with pytest.raises(RankwiseError, match=r"scores/dense\.json does not exist"):
        report(arguments)


def test_spectra_notes_and_predict_loss(study: Path) -> None:
    """Read from factors, without their factors; the loss that ranks predict, as the allocator adds it up."""
    from rankwise.artifacts.factors import Factors, GroupFactors
    from rankwise.records.allocation import AllocationRecord, LinearRank

    spectrum = torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    name = "model.layers.0.mlp.up_proj"
    factors = Factors(torch.ones(6, 4), torch.ones(4, 5), spectrum, notes={"damping": 0.1})
    path = study / "decompose/dense/own/group_0.safetensors"
    GroupFactors("kfac", [0], {name: factors}).save(path, torch.float32)
    [made] = read_decompositions([path]).values()
    assert (made.origin, made.section, made.method) == ("dense", "own", "kfac")
    assert made.notes == {name: {"damping": 0.1}}
    lost = 1.25 / float((spectrum**2).sum())
    linear = LinearRank(layer=0, kind="q", rank=2, shape=(6, 5), parameters=22, relative_error=lost)
    record = AllocationRecord.load(study / "allocate/svd-80.json")
    record = record.model_copy(update={"linears": {name: linear}})
    assert predict_loss(record, made) == pytest.approx(1.25)
    made.method = "svd"
    assert predict_loss(record, made) is None
    [line] = spectra_figure(made, {name: "q"})["data"]
    assert (line["y"][0], line["y"][20], line["y"][-1]) == (1, pytest.approx(lost, rel=1e-3), 0)


def test_a_run_has_the_decomposition_of_its_origin(study: Path) -> None:
    """A run in steps: the factors are those of the statistics of the step before."""
    from rankwise.artifacts.factors import Factors, GroupFactors

    spectrum = torch.tensor([2.0, 1.0], dtype=torch.float64)
    factors = Factors(torch.ones(3, 2), torch.ones(2, 3), spectrum)
    paths = [study / f"decompose/{origin}/svd/group_0.safetensors" for origin in ("dense", "step")]
    for path in paths:
        GroupFactors("svd", [0], {"linear": factors}).save(path, torch.float32)
    results = study_of(study)
    changed = tuple(
        replace(run, origin="step") if run.name == "svd-80" else run for run in results.measured
    )
    runs = {run.name: run for run in replace(results, measured=changed, factors=tuple(paths)).runs}
    made = {name: run.decomposition.origin for name, run in runs.items() if run.decomposition}
    assert made == {"svd-80": "step", "svd-50": "dense"}
    assert runs["svd-50"].predicted is None  # its measure is not the loss
    assert results.runs[1].decomposition is None


def test_what_the_stages_took(study: Path, arguments: list[str]) -> None:
    costs = {cost.stage: cost for cost in read_costs(study.parent / "logs")}
    assert list(costs) == ["evaluate", "report"]
    one = costs["evaluate"]
    assert (one.jobs, one.seconds, one.cpu_seconds, one.peak_mb) == (2, 12.0, 6.0, 700)
    assert read_costs(None) == []
    assert read_costs(study / "nowhere") == []
    report([*arguments, "--logs", str(study.parent / "logs")])
    assert "Where the time went" in (study / "report/index.html").read_text()


def test_closed_form_is_a_level(study: Path) -> None:
    [result] = [r for r in results_of(study) if r.name == "bolaco-80"]
    rows = tuple(row | {"losses": {}} for row in result.trials)
    *_, level = search_convergence([replace(result, trials=rows)])["data"]
    assert level["name"] == "bolaco-80, closed form"
    assert level["y"] == [rows[0]["objective"]] * 2


def test_runs_that_differ_in_their_seed_alone_are_one_point(study: Path) -> None:
    dense, base, *_ = [r for r in results_of(study) if r.name in ("dense", "bolaco-80")]
    assert base.allocation is not None

    def seeded(name: str, perplexity: float, keep: float = 0.75, **settings: int) -> RunResult:
        assert base.allocation is not None
        parameters = base.allocation.parameters | settings
        change = {"run": name, "perplexity": perplexity, "keep_asked": keep, "keep_reached": keep}
        return replace(
            base,
            scores=base.scores.model_copy(update=change),
            allocation=base.allocation.model_copy(update={"parameters": parameters}),
        )

    runs = [
        seeded("a-75-seed0", 4.0, seed=0),
        seeded("a-75-seed1", 7.0, seed=1),
        seeded("a-75-seed2", 4.0, seed=2),
        seeded("more-75", 6.0, seed=0, trials=99),
        seeded("a-50-seed0", 9.0, 0.5, seed=0),
        seeded("a-50-seed1", 11.0, 0.5, seed=1),
    ]
    [line, _] = figures.perplexity_by_keep([dense, *runs])["data"]
    assert line["y"] == [10.0, 5.0, 6.0]  # by rising keep
    assert line["error_y"]["arrayminus"][:2] == [1.0, 1.0]
    assert line["error_y"]["array"][:2] == [1.0, 2.0]
    assert line["customdata"][1:] == ["a-75-seed0 and 2 more seeds", "more-75"]
