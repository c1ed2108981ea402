"""A made-up study: records of a dense model and five runs, none of which any stage made."""

import json
import math
import shlex
from pathlib import Path
from random import Random

import pytest

from rankwise.files.atomic import write_json, write_text
from rankwise.files.checksummed import to_checksummed_lines
from rankwise.records.allocation import AllocationRecord, LinearRank
from rankwise.records.items import Continuation, Items, TaskItems, TextItems
from rankwise.records.refine import Curve, RefineRecord
from rankwise.records.scores import Scores, TaskScore
from rankwise.records.speed import Rate, SpeedPoint, SpeedRecord

RUNS = {
    "svd-80": ("svd", "uniform", 0.8),
    "pca-80": ("pooled_pca", "uniform", 0.8),
    "bolaco-80": ("pooled_pca", "hyperopt", 0.8),
    "svd-50": ("svd", "uniform", 0.5),
    "bolaco-50": ("pooled_pca", "hyperopt", 0.5),
}
REFINED = {"svd-50-refined": ("svd-50", "blockwise"), "svd-80-refined": ("svd-80", "diagonal_lora")}
RETURNED = "svd-80-refined"
"""The refined run whose input was returned."""
TRIALS = 8
FAILED_TRIAL = 5
TASKS = {"arc": 4, "boolq": 2, "hellaswag": 4, "piqa": 2, "winogrande": 2}
SHAPES = {
    "self_attn.q_proj": (192, 192),
    "self_attn.k_proj": (64, 192),
    "self_attn.v_proj": (64, 192),
    "self_attn.o_proj": (192, 192),
    "mlp.gate_proj": (512, 192),
    "mlp.up_proj": (512, 192),
    "mlp.down_proj": (192, 512),
}


def make_scores(run: str, keep: float, rng: Random) -> Scores:
    perplexity = 3.1 * math.exp(6 * (1 - keep) ** 2 + rng.uniform(0, 0.1) * (keep < 1))
    zero_shot = {}
    for task, choices in TASKS.items():
        acc = 1 / choices + (0.9 - 1 / choices) * keep**2 * rng.uniform(0.9, 1)
        acc = round(acc * 250) / 250
        error = math.sqrt(acc * (1 - acc) / 249)
        zero_shot[task] = TaskScore(
            data=f"{task}_validation.jsonl",
            acc=acc,
            acc_stderr=error,
            acc_norm=acc,
            acc_norm_stderr=error,
            items=250,
            chance=1 / choices,
        )
    return Scores(
        run=run,
        keep_asked=keep,
        keep_reached=keep - 0.0003 * (keep < 1),
        perplexity=perplexity,
        loss=math.log(perplexity),
        tokens=23114,
        windows=182,
        window_length=128,
        zero_shot=zero_shot,
        zero_shot_average=sum(task.acc for task in zero_shot.values()) / len(zero_shot),
        parameters=int(295_000 + 1_574_504 * keep),
        checkpoint_bytes=int(4 * (295_000 + 1_574_504 * keep)),
        versions={"torch": "2.13.0", "rankwise": "0.1.0"},
        parameters_section={"batch": 32, "tasks": None, "limit": None},
    )


def make_point(batch: int, rate: float) -> SpeedPoint:
    prefill = Rate(median=rate, quartiles=(rate * 0.98, rate * 1.01))
    decode = Rate(median=rate * batch / 50, quartiles=(rate * batch / 51, rate * batch / 49))
    return SpeedPoint(batch=batch, prefill=prefill, decode=decode, memory_bytes=8_000_000)


def make_items(scores: Scores, rng: Random) -> Items:
    """Windows and items of which the scores are the means; items as hard in every run."""
    hard = Random(1)
    windows = [hard.gauss(0, 0.3) for _ in range(scores.windows)]
    mean = sum(windows) / len(windows)
    losses = [scores.loss + window - mean + rng.gauss(0, 1e-3) for window in windows]
    tasks = {}
    for name, task in scores.zero_shot.items():
        places = [hard.random() for _ in range(task.items)]
        right = sorted(places)[: round(task.acc * task.items)]
        acc = [place in right for place in places]
        tasks[name] = TaskItems(sha256=name, acc=acc, acc_norm=acc)
    said = [Continuation(prompt="Once <b>upon</b>", text=f" a {scores.run}.\nThe end")]
    texts = {"test": TextItems(sha256="ab" * 32, losses=losses)}
    return Items(run=scores.run, texts=texts, tasks=tasks, continuations=said)


def make_speed(run: str, keep: float, rng: Random) -> SpeedRecord:
    rate = 12000 * (1 + 0.4 * (1 - keep)) * rng.uniform(0.97, 1.03)
    return SpeedRecord(
        run=run,
        points=[make_point(batch, rate) for batch in (1, 8)],
        dense=[make_point(batch, 12000) for batch in (1, 8)],
        length=128,
        new_tokens=8,
        repeats=7,
        device="cpu",
        threads=1,
    )


def make_allocation(run: str, rng: Random) -> AllocationRecord:
    decompose, allocate, keep = RUNS[run]
    linears = {}
    for layer in range(4):
        for kind, (out, inner) in SHAPES.items():
            dense = decompose == "pooled_pca" and kind.endswith("v_proj")
            share = min(1.0, keep * (rng.uniform(0.6, 1.3) if allocate == "hyperopt" else 1))
            rank = None if dense else max(2, int(share * out * inner / (out + inner)))
            linears[f"model.layers.{layer}.{kind}"] = LinearRank(
                layer=layer,
                kind=kind.split(".")[1].removesuffix("_proj"),
                rank=rank,
                shape=(out, inner),
                parameters=out * inner if rank is None else rank * (out + inner),
                relative_error=0.0 if rank is None else (1 - share) ** 2,
            )
    searched = allocate == "hyperopt"
    return AllocationRecord(
        run=run,
        decompose=decompose,
        allocate=allocate,
        parameters={"multiple": 2, "floor": 0.1}
        | ({"trials": TRIALS, "bounds": [0.2, 1.001]} if searched else {}),
        keep_asked=keep,
        keep_reached=keep - 0.0003,
        parameters_reached=int(295_000 + 1_574_504 * keep),
        checkpoint_bytes_reached=None,
        keep_index_free=keep - 0.0003,
        linears=linears,
        search={"trials": TRIALS, "failed": 1, "best": 7, "objective": 4.2} if searched else {},
    )


def make_trials(run: str, rng: Random) -> str:
    _, allocate, keep = RUNS[run]
    if allocate != "hyperopt":
        return to_checksummed_lines([])
    rows = []
    for trial in range(TRIALS):
        perplexity = (
            None if trial == FAILED_TRIAL else 4 / keep**2 * rng.uniform(1, 1.6) * (1 - trial / 60)
        )
        rows.append(
            {
                "trial": trial,
                "status": "failed" if perplexity is None else "ok",
                "objective": None if perplexity is None else perplexity + 0.5,
                "perplexity": perplexity,
                "kl": None if perplexity is None else 0.5 / 4.1,
                "keep_reached": keep - 0.0003,
                "shares": {
                    kind: rng.uniform(0.2, 1)
                    for kind in ("qk.0", "o.0", "gate.0", "up.0", "down.0")
                },
            }
        )
    return to_checksummed_lines(rows)


def make_refinement(run: str) -> RefineRecord:
    """Four blocks that get better and better, or a model whose first epoch was the best and not enough."""
    of, method = REFINED[run]
    returned = run == RETURNED
    curves = []
    for layer in [None] if returned else range(4):
        begin = 2.1 if layer is None else 0.02 * 3**layer
        held_out: list[float | None] = [begin * (0.2 + 0.8 * 0.6**epoch) for epoch in range(7)]
        if returned:
            held_out = [begin, begin * 0.99, begin * 1.2, None]
        curves.append(
            Curve(
                layer=layer,
                train=[value and value * 0.9 for value in held_out[1:]],
                held_out=held_out,
                best=1 if returned else 6,
            )
        )
    return RefineRecord(
        run=run,
        of=of,
        method=method,
        parameters={"epochs": 6, "learning_rate": 0.004},
        training_sequences=224,
        held_out_sequences=32,
        sequence_length=128,
        dense_loss=0.9,
        loss_before=1.5,
        loss_after=1.75 if returned else 1.0,
        returned_input=returned,
        curves=curves,
    )


def make_logs(logs: Path) -> None:
    """What three jobs of two stages took."""
    for name, seconds in {"evaluate/dense": 7.0, "evaluate/svd-80": 5.0, "report": 1.0}.items():
        cost = {"seconds": seconds, "cpu_seconds": seconds / 2, "peak_mb": 100 * int(seconds)}
        write_json(logs / f"{name}.json", cost)


def make_study(data: Path) -> Path:
    """Write the records as the stages before the report leave them."""
    rng = Random(0)
    title = "A study of <b>two</b> methods & a search"
    write_json(data / "params/report.json", {"title": title, "resamples": 200})
    runs = []
    for run, (decompose, allocate, keep) in RUNS.items():
        runs.append({"name": run, "decompose": decompose, "allocate": allocate, "keep": keep})
        write_json(data / f"params/decompose.{decompose}.json", {"method": decompose, "dense": []})
        given = {"method": allocate, "multiple": 2} | (
            {"trials": TRIALS} if allocate == "hyperopt" else {}
        )
        write_json(data / f"params/allocate.{allocate}.json", given)
    for run, (of, method) in REFINED.items():
        runs.append({"name": run, "refine": method, "of": of})
        write_json(data / f"params/refine.{method}.json", {"method": method, "epochs": 6})
    write_json(data / "params/runs.json", runs)
    make_logs(data.parent / "logs")
    keeps = {"dense": 1.0, **{name: run[2] for name, run in RUNS.items()}}
    keeps |= {run: keeps[of] for run, (of, _) in REFINED.items()}
    for run, keep in keeps.items():
        scores = make_scores(run, keep, rng)
        scores.save(data / f"scores/{run}.json")
        make_items(scores, rng).save(data / f"items/{run}.json")
        make_speed(run, keep, rng).save(data / f"speed/{run}.json")
    for run in RUNS:
        make_allocation(run, rng).save(data / f"allocate/{run}.json")
        write_text(data / f"allocate/{run}.trials.jsonl", make_trials(run, rng))
    for run in REFINED:
        make_refinement(run).save(data / f"refine/{run}.json")
    return data


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path / "data")


@pytest.fixture
def arguments(study: Path) -> list[str]:
    """Options of the report stage over that study."""
    options = ["--params", f"{study}/params/report.json"]
    options += ["--out", f"{study}/report/index.html", "--summary", f"{study}/report/summary.json"]
    for run in ["svd-80", "dense", *[name for name in RUNS if name != "svd-80"], *REFINED]:
        options += [
            "--scores",
            f"{study}/scores/{run}.json",
            "--items",
            f"{study}/items/{run}.json",
            "--speed",
            f"{study}/speed/{run}.json",
        ]
    for run in REFINED:
        options += ["--refinement", f"{study}/refine/{run}.json"]
    for run in RUNS:
        options += ["--allocation", f"{study}/allocate/{run}.json"]
        options += ["--trials", f"{study}/allocate/{run}.trials.jsonl"]
    return options


@pytest.fixture
def here(study: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The study's records, in a folder that says by which command the stage report read them."""
    monkeypatch.chdir(study.parent)
    sections = [
        word for path in (study / "params").glob("*.json") for word in ("--section", str(path))
    ]
    words = ["python", "-m", "rankwise", "--log", "logs/report.log", "report"]
    command = shlex.join([*words, *arguments, *sections])
    Path("dvc.yaml").write_text(json.dumps({"stages": {"report": {"cmd": command}}}))
    return study
