"""params.yaml: every mistake is refused with key path, given, allowed and the nearest name."""

import pytest
from ruamel.yaml import YAML

from rankwise.decompose import decomposers
from rankwise.errors import RankwiseError
from rankwise.files.checksummed import read_json
from rankwise.params.sample import Sample
from rankwise.params.section import read_method, read_section
from rankwise.validation.params import cut_sections, load_params
from tests.parameters import ROOT, changed


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("covarance",), {}, r"covarance: no such key .*did you mean 'covariance'"),
        (
            ("covariance", "pool"),
            3,
            r"covariance.pool: no such key \(given 3\); did you mean 'pools'",
        ),
        (
            ("covariance", "moments"),
            "smaller",
            r"covariance.moments: 'smaller' asked, 'kfac_sparse' of runs.rankwise-80 needs 'inputs'",
        ),
        (
            ("decompose", "pooled_pca", "dampng"),
            0.1,
            r"decompose.pooled_pca.dampng: no such key .*'damping'",
        ),
        (
            ("decompose", "svdd"),
            {},
            r"decompose.svdd: no such method as 'svdd'; did you mean 'svd'",
        ),
        (("runs", "svd-80", "keep"), 0, r"runs.svd-80.keep: 0 given; .*greater than 0"),
        (
            ("runs", "svd-80", "keep"),
            1.5,
            r"runs.svd-80.keep: 1.5 given; .*less than or equal to 1",
        ),
        (("runs", "svd-80", "keep"), "much", r"runs.svd-80.keep: 'much' given"),
        (
            ("runs", "svd-80", "decompose"),
            "svp",
            r"runs.svd-80.decompose: 'svp' .*did you mean 'svd'",
        ),
        (("runs", "svd-80", "allocate"), "pg", r"runs.svd-80.allocate: 'pg' has no section"),
        (
            ("runs", "dense"),
            {"decompose": "svd", "allocate": "uniform", "keep": 0.5},
            r"runs.dense: a run is named",
        ),
        (
            ("runs", "a/b"),
            {"decompose": "svd", "allocate": "uniform", "keep": 0.5},
            r"runs.a/b: a run is named",
        ),
        (
            ("allocate", "hyperopt", "algorithm"),
            "tpee",
            r"allocate.hyperopt.algorithm: 'tpee' given; .*'tpe'",
        ),
        (
            ("runs", "a--b"),
            {"decompose": "svd", "allocate": "uniform", "keep": 0.5},
            r"runs.a--b: a run is named",
        ),
        (
            ("runs", "better"),
            {"refine": "blockwise", "of": "svd-8"},
            r"runs.better.of: there is no run 'svd-8'; did you mean 'svd-80'",
        ),
        (
            ("runs", "better"),
            {"refine": "blockwise", "off": "svd-80"},
            r"runs.better.off: no such key .*did you mean 'of'",
        ),
        (("runs", "svd-80", "steps"), 0, r"runs.svd-80.steps: 0 given; .*greater than or equal"),
        (
            ("runs", "svd-80", "steps_allocate"),
            "x",
            r"runs.svd-80.steps_allocate: 'x' has no section",
        ),
        (
            ("decompose", "other"),
            {"method": "svdd"},
            r"decompose.other: no such method as 'svdd'; did you mean 'svd'",
        ),
        (
            ("sample", "further"),
            {"again": {"corpus": "calibration"}},
            r"sample.further.again.corpus: 'calibration' is also calibrated",
        ),
        (("sample", "test", "corpus"), "search", r"test text may never steer a choice"),
        (
            ("sample", "search", "corpus"),
            "serch",
            r"sample.search.corpus: 'serch' .*did you mean 'search'",
        ),
        (("sample", "calibration", "sequences"), 250, r"does not divide .* = 250; use 248 or 256"),
        (("sample", "search", "sequences"), None, r"null is for test text only"),
        (("prepare", "model", "revision"), "main", r"revision: 'main' given; .*40 lower-case hex"),
        (
            ("runs", "svd-80", "allocate"),
            "least_loss",
            r"^params.yaml: runs.svd-80.allocate: 'least_loss' needs a decomposer whose spectrum says what dropping "
            r"every component costs the model's loss, that of 'svd' says how large .*; name another allocator, or a "
            r"decomposer of method .*kfac",
        ),
        (
            ("runs", "svd-80"),
            {
                "decompose": "svd",
                "allocate": "uniform",
                "keep": 0.8,
                "steps": 2,
                "steps_allocate": "least_loss",
            },
            r"^params.yaml: runs.svd-80.steps_allocate: 'least_loss' needs a decomposer",
        ),
        (
            ("allocate", "hyperopt", "space"),
            "losses",
            r"^params.yaml: runs.bolaco-80.allocate: 'hyperopt' needs .*that of 'pooled_pca' says how large",
        ),
        (
            ("allocate", "hyperopt", "validation"),
            65,
            r"^params.yaml: allocate.hyperopt.validation: 65 sequences asked, sample.search.sequences is 64",
        ),
        (
            ("allocate", "least_loss", "multiple"),
            4,
            r"^params.yaml: runs.rankwise-80.allocate: ranks in multiples of 4 asked, those of 'kfac_sparse' are "
            r"multiples of 2; make allocate.least_loss.multiple a divisor",
        ),
        (
            ("decompose", "oats", "kappa"),
            1.5,
            r"^params.yaml: decompose.oats.kappa: 1.5 given; the sparse part's share of the budget is 1 − kappa = -0.5",
        ),
        (
            ("decompose", "oats", "keep"),
            1.2,
            r"^params.yaml: decompose.oats.keep: 1.2 given; .*less than 1",
        ),
        (("prepare",), {"model": {"source": "x"}}, r"prepare.model.layers: is missing"),
        (("compute", "device"), "gpu", r"compute.device: 'gpu' given"),
    ],
)
def test_mistakes_are_refused_with_their_path(tmp_path, path, value, says):
    with pytest.raises(RankwiseError, match=says):
        load_params(changed(tmp_path, *path, value=value))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "is not plain YAML"),
        ("runs: {}\nruns: {}", "not plain YAML.*duplicate"),
        ("- 1", "must hold sections"),
        ("", "must hold sections"),
        ("!!python/object:os.system x", "not plain YAML|must hold"),
    ],
)
def test_files_that_are_no_parameters(tmp_path, text, says):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(RankwiseError, match=f"(?s){says}"):
        load_params(tmp_path / "params.yaml")


def test_all_mistakes_are_said_at_once(tmp_path):
    path = changed(tmp_path, "runs", "svd-80", "keep", value=0)
    text = path.read_text().replace("pools: 8", "poools: 8")
    path.write_text(text)
    with pytest.raises(RankwiseError) as caught:
        load_params(path)
    assert len(str(caught.value).splitlines()) == 2


def test_sums_of_other_measures_are_served_where_they_are_meant(tmp_path):
    path = changed(tmp_path, "runs", "svd-80", "allocate", value="least_loss")
    given = "least_loss: {multiple: 2, floor: 0.1"
    assert given in path.read_text()
    path.write_text(path.read_text().replace(given, f"{given}, any_measure: true"))
    assert load_params(path).built()["svd-80"].allocate == "least_loss"


def test_a_refinement_without_calibration_text_is_refused_at_once(tmp_path):
    base = {"decompose": "svd", "allocate": "uniform", "keep": 0.8}
    better = {"refine": "blockwise", "of": "base"}
    path = changed(tmp_path, "runs", value={"base": base, "better": better})
    text = path.read_text() + "refine: {blockwise: {held_out: 0.95}}\n"
    path.write_text(text)
    load_params(path)
    assert "sequences: 256" in text
    path.write_text(text.replace("sequences: 256", "sequences: 8"))
    says = (
        r"^params.yaml: runs.better.refine: 8 calibration sequences, 8 of them held out, leave none "
        r".* needs calibration text: raise sample.calibration.sequences or lower .*held_out$"
    )
    with pytest.raises(RankwiseError, match=says):
        load_params(path)


def test_sections_are_rewritten_only_when_they_changed(tmp_path):
    folder = tmp_path / "params"
    cut_sections(load_params(ROOT / "params.yaml"), folder)
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    cut_sections(load_params(changed(tmp_path, "sample", "test", "length", value=64)), folder)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in after if after[name] != times[name]} == {"sample.test.json"}
    assert read_section(folder / "sample.test.json", Sample).length == 64
    assert read_json(folder / "decompose.pooled_pca.json")["damping"] > 0  # defaults are filled in


def test_statistics_are_those_that_the_methods_of_section_decompose_need(tmp_path):
    yaml = YAML()
    for method, moments in {"svd": "channels", "oats": "channels", "pooled_pca": "smaller"}.items():
        run = {"decompose": method, "allocate": "uniform", "keep": 0.8}
        given = yaml.load(changed(tmp_path, "runs", value={"one": run}))
        given["decompose"] = {method: given["decompose"][method]}
        yaml.dump(given, tmp_path / "params.yaml")
        cut_sections(load_params(tmp_path / "params.yaml"), tmp_path / "cut")
        assert read_json(tmp_path / "cut/covariance.json")["moments"] == moments
    cut_sections(load_params(ROOT / "params.yaml"), tmp_path / "cut")
    assert read_json(tmp_path / "cut/covariance.json")["moments"] == "inputs"


@pytest.mark.parametrize("section", ["covariance", "fisher"])
def test_compressed_models_are_not_streamed(tmp_path, section):
    run = {"decompose": "svd", "allocate": "uniform", "keep": 0.8, "steps": 2}
    path = changed(tmp_path, "runs", value={"one": run})
    yaml = YAML()
    given = yaml.load(path)
    given.setdefault(section, {})["streaming"] = True
    yaml.dump(given, path)
    with pytest.raises(RankwiseError, match=rf"runs.one.steps: 2 given, .*{section}.streaming"):
        load_params(path)


def test_steps_share_what_comes_before_the_last(tmp_path):
    way = {"decompose": "svd", "keep": 0.6, "steps": 2}
    runs = {
        "one": {**way, "allocate": "uniform"},
        "other": {**way, "allocate": "hyperopt", "steps_allocate": "uniform"},
        "third": {**way, "allocate": "hyperopt"},
        "better": {"refine": "blockwise", "of": "one"},
        "best": {"refine": "blockwise", "of": "better"},
    }
    path = changed(tmp_path, "runs", value=runs)
    path.write_text(path.read_text() + "refine: {blockwise: {}}\n")
    params = load_params(path)
    built = params.built()
    origins = {name: (run.way, run.origin) for name, run in built.items()}
    assert origins == {
        "one--step1": (0.5, "dense"),
        "one": (1.0, "one--step1"),
        "other": (1.0, "one--step1"),
        "third--step1": (0.5, "dense"),
        "third": (1.0, "third--step1"),
    }
    assert {run.keep for run in built.values()} == {0.6}
    assert built["one--step1"].allocate == "uniform"
    assert params.compressed("best") == "one"


def test_a_section_may_say_which_method_it_is(tmp_path):
    path = changed(tmp_path, "decompose", "mild", value={"method": "pooled_pca", "damping": 0.5})
    cut_sections(load_params(path), tmp_path / "cut")
    method = read_method(tmp_path / "cut/decompose.mild.json", decomposers)
    assert (type(method).__name__, method.damping) == ("PooledPCA", 0.5)
