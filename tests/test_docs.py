"""The documentation's code does what it says."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from ruamel.yaml import YAML

from rankwise.allocate import allocators
from rankwise.artifacts.statistics import InputStatistics
from rankwise.commands.init import PRESETS
from rankwise.decompose import decomposers
from rankwise.model.check import check_family
from rankwise.model.families import families, family_of
from rankwise.model.weights import Weights
from rankwise.params.prepare import Model
from rankwise.refine import refiners
from rankwise.validation.params import load_params
from tests.allocate.problems import problem

PAGE = Path(__file__).parents[1] / "docs/extending.md"
METHODS = PAGE.with_name("methods.md")


def load(name: str, folder: Path):
    """Write one code block of the page to a file and import it."""
    blocks = re.findall(r"```python\n# \S*/(\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = folder / f"{name}.py"
    path.write_text(dict(blocks)[name])
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_decomposer_works(tmp_path):
    method = load("scaled_svd", tmp_path).ScaledSVD()
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 9, dtype=torch.float64, generator=generator)
    x = torch.randn(40, 9, dtype=torch.float64, generator=generator)
    factors = method(
        weight,
        InputStatistics(x.T @ x, x.mean(0, keepdim=True), torch.tensor([40]), x.abs().sum(0)),
        6,
    )
    torch.testing.assert_close(factors.left @ factors.right, weight)


def test_the_example_allocator_works(tmp_path):
    case = problem(layers=4)
    choices = load("late", tmp_path).Late(multiple=1)(case)
    assert choices["3.q"].rank > choices["0.q"].rank


def test_the_table_of_families_says_what_their_files_say():
    rows = [
        f"| `{file}` | {architectures(family)} | {', '.join(family.kinds())} | {', '.join(family.dense) or 'none'} |"
        for file, family in families().items()
    ]
    lines = METHODS.read_text().splitlines()
    begin = lines.index("| family | architectures | types of linear | dense in the blocks |") + 2
    assert lines[begin : begin + len(rows) + 1] == [*rows, ""]


def architectures(family):
    settings = ", ".join(f"{key}: {json.dumps(value)}" for key, value in family.when.items())
    return ", ".join(family.architectures) + (f" ({settings})" if settings else "")


def test_the_example_family_is_one(tmp_path):
    [text] = re.findall(r"```yaml\n# families/(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "olmo2.yaml").write_text(f"# {text}")
    family = family_of("Olmo2ForCausalLM", own=tmp_path)
    assert family.kinds() == ["q", "k", "v", "o", "gate", "up", "down"]
    config = transformers.Olmo2Config(hidden_size=32, intermediate_size=48, num_hidden_layers=1)
    model = transformers.Olmo2ForCausalLM(config)
    model.save_pretrained(tmp_path)
    check_family(family, model, Weights(tmp_path, family), 1)


def test_extending_needs_no_edit_elsewhere():
    """No method or family is named in the code outside its own file."""
    source = Path(__file__).parents[1] / "src/rankwise"
    shared = [
        path
        for path in source.rglob("*.py")
        if path.parent.name not in ("decompose", "allocate", "embedded")
    ]
    assert len(shared) > 20
    for path in shared:
        text = path.read_text()
        for name in ("pooled_pca", "PooledPCA", "uniform", "hyperopt.fmin", "LlamaForCausalLM"):
            assert name not in text, f"{path} names {name}"


def test_the_page_of_papers_names_presets_models_and_runs_that_are_there():
    text = PAGE.with_name("papers.md").read_text()
    presets = {path.stem: load_params(path) for path in PRESETS.glob("*.yaml")}
    models = {path.stem for path in (PRESETS / "models").glob("*.yaml")}
    for preset, model in re.findall(r"--preset (\S+)(?: --model (\S+))?", text):
        assert preset in presets
        assert model in models | {""}
    [listed] = re.findall(r"`--model` takes (.*), each pinned", text)
    assert set(re.findall(r"`(\S+)`", listed)) == models
    for part in text.split("\n## ")[1:]:
        [preset] = re.findall(r"preset `(\S+)`\n", part)
        runs = set(re.findall(r"^\| [^|]*\| `(\S+)` \|", part, re.MULTILINE))
        assert runs - {"dense"} <= set(presets[preset].runs)
        assert len(runs) > 2


def test_pinned_models_are_whole():
    for path in (PRESETS / "models").glob("*.yaml"):
        given = YAML(typ="safe").load(path)
        assert Model.model_validate(given).dtype == "bfloat16"


def test_the_site_builds_and_fetches_nothing(tmp_path):
    """Every page, link and anchor is there; what a page loads comes with it."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=PAGE.parents[1], env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("index.html"))
    written = len(list(PAGE.parent.rglob("*.md")))
    methods = sum(len(list(names)) for names in (decomposers, allocators, refiners))
    assert len(pages) == written + methods
    loads = r"<(?:script|img|source)[^>]*\bsrc=\W?(https?:[^\s>]+)|<link[^>]*stylesheet[^>]*(https?:[^\s>]+)"
    for page in pages:
        assert not re.findall(loads, page.read_text()), page


def test_every_method_has_a_page_that_says_when_to_use_it_and_what_its_keys_are():
    spec = importlib.util.spec_from_file_location("method_pages", PAGE.with_name("method_pages.py"))
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    for kind, registry in pages.REGISTRIES.items():
        for name in registry:
            text = pages.page(kind, name, registry[name])
            assert "\nUse it " in text, f"{kind}.{name}: say when to use it"
            rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.*) \|$", text, re.MULTILINE)
            assert [key for key, _, _ in rows] == list(registry[name].model_fields)
            assert all(said for _, _, said in rows), f"{kind}.{name}: a key without a word"
