"""Studies of version 0.1: refused in a sentence, or migrated; names that users gave stay."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rankwise.errors import RankwiseError
from rankwise.validation.params import load_params
from rankwise.workflow.migration import with_new_names
from tests.workflow.studies import PARAMS, Study, make_study

OLD_SNAKEFILE = '''"""The study in this folder."""

from rankwise.workflow import RULES


include: RULES / "common.smk"
include: RULES / "curvature.smk"
'''
OLD = {
    "fisher: {batch: 4}": "curvature: {batch: 4}  # the backward pass",
    "  kfac: {}": "  curvature: {}\n  mine: {method: curvature_sparse, multiple: 1}",
    "  hyperopt: {multiple: 1": "  curvature: {multiple: 1, floor: 0.1}\n  hyperopt: {multiple: 1",
    "ours: {decompose: kfac, allocate: uniform, keep: 0.6, steps: 2}": (
        "ours: {decompose: curvature, allocate: curvature, keep: [0.6, 0.5]}\n"
        "  curvature: {decompose: mine, allocate: uniform, keep: 0.6}"
    ),
}
"""This version's lines → those of version 0.1."""


def old_params() -> str:
    text = PARAMS
    for now, before in OLD.items():
        assert now in text
        text = text.replace(now, before)
    return text


@pytest.fixture
def old(tmp_path: Path) -> Study:
    study = make_study(tmp_path / "study", quick=True)
    (study.folder / "params.yaml").write_text(old_params())
    (study.folder / "Snakefile").write_text(OLD_SNAKEFILE)
    return study


def test_an_old_name_is_refused_with_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(old_params())
    with pytest.raises(RankwiseError) as refusal:
        load_params(path)
    lines = str(refusal.value).splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "params.yaml: curvature: this section is called 'fisher' now",
        "params.yaml: decompose.curvature: the method 'curvature' is called 'kfac' now",
        "params.yaml: decompose.mine: the method 'curvature_sparse' is called 'kfac_sparse' now",
        "params.yaml: allocate.curvature: the method 'curvature' is called 'least_loss' now",
    ]
    assert all("rankwise migrate" in line for line in lines)


def test_new_names_keep_comments_order_and_the_names_of_runs() -> None:
    text = with_new_names(old_params())
    assert "# the backward pass" in text
    params = YAML(typ="safe").load(text)
    assert list(params)[:4] == ["prepare", "sample", "covariance", "fisher"]
    assert list(params["decompose"]) == ["svd", "pooled_pca", "kfac", "mine"]
    assert params["decompose"]["mine"]["method"] == "kfac_sparse"
    assert params["runs"]["ours"]["decompose"] == "kfac"
    assert params["runs"]["ours"]["allocate"] == "least_loss"
    assert params["runs"]["curvature"] == {"decompose": "mine", "allocate": "uniform", "keep": 0.6}
    assert with_new_names(text) == text


@pytest.mark.parametrize(
    "command",
    [
        "snakemake --dry-run",
        "python -m rankwise run",
        "python -m rankwise sync",
        "python -m rankwise why x",
    ],
)
def test_an_old_study_is_refused_in_a_sentence(old: Study, command: str) -> None:
    done = old.call(*command.split())
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "rankwise migrate" in said
    assert "Traceback" not in said


def test_an_old_study_migrates_by_one_command(old: Study) -> None:
    said = old.do("python", "-m", "rankwise", "migrate")
    assert "rankwise run" in said
    runs = load_params(old.folder / "params.yaml").runs
    assert {"curvature", "plain"} <= set(runs)
    assert len(old.snakemake_would_run()) > 20
    assert "Nothing to do" in old.do("python", "-m", "rankwise", "migrate")
