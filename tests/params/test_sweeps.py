"""Lists in section ``runs``: every combination is a run, with a name of its own, sharing what is common."""

import pytest

from rankwise.allocate import allocators
from rankwise.errors import RankwiseError
from rankwise.params.section import read_method
from rankwise.params.sweeps import expand_sweeps
from rankwise.validation.params import cut_sections, load_params
from tests.parameters import changed

PLAIN = {"decompose": "svd", "allocate": "uniform"}
SEARCH = {"decompose": "pooled_pca", "allocate": "hyperopt"}


def test_lists_are_written_out_in_the_order_of_their_keys():
    runs = expand_sweeps(
        {
            "one": PLAIN | {"keep": 0.5},
            "many": SEARCH | {"keep": [0.9, 0.825], "seed": [0, 1]},
            "ways": {"decompose": ["svd", "asvd"], "allocate": "uniform", "total_params": [1000]},
            "better": {"refine": "blockwise", "of": "many"},
            "best": {"refine": ["blockwise", "diagonal_lora"], "of": ["one", "many-90-seed1"]},
        },
        "params.yaml",
    )
    assert list(runs) == [
        "one",
        "many-90-seed0", "many-90-seed1", "many-82_5-seed0", "many-82_5-seed1",
        "ways-svd-1000", "ways-asvd-1000",
        "better-90-seed0", "better-90-seed1", "better-82_5-seed0", "better-82_5-seed1",
        "best-blockwise-one", "best-blockwise-many-90-seed1",
        "best-diagonal_lora-one", "best-diagonal_lora-many-90-seed1",
    ]  # fmt: skip
    assert runs["many-82_5-seed1"] == SEARCH | {"keep": 0.825, "seed": 1}
    assert runs["better-90-seed1"] == {"refine": "blockwise", "of": "many-90-seed1"}


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ({"a": PLAIN | {"keep": []}}, r"^params.yaml: runs.a.keep: an empty list given"),
        ({"a": PLAIN | {"keep": [0.8, 0.8]}}, r"^params.yaml: runs.a: two runs would be named 'a-80'"),
        (
            {"a": PLAIN | {"keep": [0.9, 0.8]}, "a-80": PLAIN | {"keep": 0.8}},
            r"^params.yaml: runs.a: two runs would be named 'a-80', .*rename one of them$",
        ),
        ({"a": PLAIN | {"keep": [0.8, 2.0]}}, r"^params.yaml: runs.a-200.keep: 2.0 given"),
        ({"a": PLAIN | {"keep": [[0.8]]}}, r"^params.yaml: runs.a-\[0.8\].keep: a section given"),
        (
            {"a": PLAIN | {"keep": 0.8, "seed": [1, 2]}},
            r"runs.a-seed1.seed: 1 given, but 'uniform' draws nothing; .*hyperopt",
        ),
    ],
)  # fmt: skip
def test_mistakes_in_lists_are_refused(tmp_path, runs, says):
    with pytest.raises(RankwiseError, match=says):
        load_params(changed(tmp_path, "runs", value=runs))


def test_a_sweep_shares_its_decomposition_and_its_steps(tmp_path):
    runs = {
        "plain": PLAIN | {"keep": [0.9, 0.8]},
        "search": SEARCH
        | {"keep": 0.8, "seed": [0, 1], "steps": 2, "steps_allocate": "uniform"},
        "own": SEARCH | {"keep": 0.8, "seed": [0, 1], "steps": 2},
    }  # fmt: skip
    params = load_params(changed(tmp_path, "runs", value=runs))
    origins = {name: run.origin for name, run in params.built().items()}
    assert origins["plain-90"] == origins["plain-80"] == "dense"
    assert origins["search-seed0"] == origins["search-seed1"] == "search-seed0--step1"
    assert origins["own-seed1"] == "own-seed1--step1"
    cut_sections(params, tmp_path / "cut")
    assert params.built()["search-seed1"].seed == 1
    assert read_method(tmp_path / "cut/allocate.hyperopt.json", allocators).seed == 0
