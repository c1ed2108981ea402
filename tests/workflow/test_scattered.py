"""Searches in rounds and statistics in shards: known before they run, and what is lost runs again alone."""

import re
from pathlib import Path

from ruamel.yaml import YAML

from rankwise.planning.job_resources import ON_DEVICE, STAGES
from tests.workflow.studies import FEWER, make_study


def test_jobs_of_searches_and_statistics_stand_beside_each_other(tmp_path: Path) -> None:
    search = "allocate.hyperopt={multiple: 1, floor: 0.1, trials: 5, q: 2, seed: 0}"
    study = make_study(
        tmp_path / "study", quick=True, settings=[*FEWER, search, "covariance.shards=2"]
    )
    study.print_dvc()
    stages = study.stages()

    def before(name: str) -> set[str]:
        return {path for path in stages[name]["deps"] if path.startswith("data/search/")}

    data = "data/search/searched"
    assert {name for name in stages if name.startswith(("suggest", "trial"))} == {
        *("suggest@searched-0", "suggest-searched-1", "suggest-searched-2"),
        *(
            "trial@searched-0",
            "trial@searched-1",
            "trial-searched-2",
            "trial-searched-3",
            "trial-searched-4",
        ),
    }
    assert before("suggest@searched-0") == set()
    assert before("trial@searched-1") == {f"{data}/round_0.jsonl"}
    assert before("trial-searched-2") == {f"{data}/round_1.jsonl"}
    assert before("suggest-searched-2") == {f"{data}/trial_{n}.jsonl" for n in range(4)}
    assert before("allocate_search@searched") == {f"{data}/trial_{n}.jsonl" for n in range(5)}
    assert "data/sample/search.safetensors" not in stages["allocate_search@searched"]["deps"]

    shards = [set(stages[f"covariance_shard@dense-{number}"]["outs"]) for number in range(2)]
    assert not shards[0] & shards[1]
    assert shards[0] | shards[1] <= set(stages["covariance-dense"]["deps"])

    study.do("snakemake", f"{data}/round_1.jsonl")
    (study.folder / f"{data}/trial_1.jsonl").unlink()
    (study.folder / f"{data}/round_1.jsonl").unlink()
    said = study.do("snakemake", f"{data}/round_1.jsonl", "--dry-run", "--quiet", "host")
    assert [line.split()[-1] for line in said.splitlines() if line.startswith("    output:")] == [
        f"{data}/trial_1.jsonl",
        f"{data}/round_1.jsonl",
    ]

    # One GPU on this machine: every job that computes on it asks for it, and there is one to be had.
    study.change("compute.device=cuda")
    said = study.do("snakemake", "--dry-run", "--quiet", "host")
    asked = re.findall(
        r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", said, re.MULTILINE
    )
    assert {rule for rule, needs in asked if "gpu=1" in needs} == {
        rule for rule, _ in asked if STAGES.get(rule, rule) in ON_DEVICE
    }
    profile = YAML(typ="safe").load((study.folder / "profiles/default/config.yaml").read_text())
    assert profile["resources"] == ["gpu=1"]
