"""A study of one's own on a real-English LLaMA and WikiText-2 text, at reduced size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rankwise.records.scores import Scores
from rankwise.records.summary import Summary

ROOT = Path(__file__).parents[2]


@pytest.mark.workflow
@pytest.mark.shared
def test_whole_pipeline_on_real_input(shared_data, tmp_path):
    study = tmp_path / "a study"
    subprocess.run(
        [sys.executable, ROOT / "bench/wikitext.py", study, "--reduced"],
        env=os.environ | {"RANKWISE_DATA": str(shared_data)},
        check=True,
    )
    rows = {row.run: row for row in Summary.load(study / "data/report/summary.json").rows}
    assert list(rows) == ["dense", "svd-60", "bolaco-60"]
    assert rows["dense"].parameters == 5_475_584
    for run in ("svd-60", "bolaco-60"):
        assert 0.6 - 0.002 <= rows[run].keep_reached <= 0.6
        assert rows[run].perplexity > rows["dense"].perplexity
    assert rows["bolaco-60"].perplexity < rows["svd-60"].perplexity
    scores = Scores.load(study / "data/scores/dense.json")
    assert (scores.windows, scores.window_length, scores.zero_shot_average) == (16, 256, None)
    assert not list(study.rglob("*.pkl"))
