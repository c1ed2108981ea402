"""Nothing runs, opens or leaks that was not asked for: what the code may hold, and what files may say."""

import ast
import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from rankwise.commands.init import PRESETS
from rankwise.errors import RankwiseError
from rankwise.files.yamls import read_yaml
from rankwise.hub.checks import CheckpointError, refuse_switches
from rankwise.inputs.model_config import read_model_config
from rankwise.inputs.tokenizer import read_tokenizer
from rankwise.validation.params import load_params
from tests.conftest import tiny_llama
from tests.workflow.studies import make_tokenizer

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
RULES = sorted([*(ROOT / "workflow").rglob("*.smk"), ROOT / "Snakefile"])
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "telnetlib", "yaml"}
CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "os.system", "os.popen", "pickle.load",
    "pickle.loads", "np.load", "numpy.load", "tarfile.open", "zipfile.ZipFile",
    "shutil.unpack_archive", "subprocess.getoutput",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """The name that is called, as far as it is one."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_package_runs_no_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not MODULES & {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in MODULES
        if isinstance(node, ast.Call):
            assert dotted(node.func) not in CALLS, ast.unparse(node)
            for word in node.keywords:
                on = not (isinstance(word.value, ast.Constant) and word.value.value is False)
                assert word.arg not in ("shell", "trust_remote_code", "allow_pickle") or not on
                if word.arg in ("host", "--host"):
                    assert ast.unparse(word.value) == "'127.0.0.1'"


LOADERS = ("AutoTokenizer.from_pretrained", "AutoModelForCausalLM.from_pretrained", "AutoModelForCausalLM.from_config")  # fmt: skip


def test_what_may_bring_code_is_loaded_with_it_switched_off() -> None:
    """Left to itself, transformers would ask on the terminal; configurations were read so by the stage prepare."""
    pipeline = [path for path in SOURCES if "embedded" not in path.parts]
    calls = [
        node
        for path in pipeline
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and dotted(node.func) in LOADERS
    ]
    assert len(calls) >= 4
    for call in calls:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("trust_remote_code") == "False", ast.unparse(call)


def test_a_tokenizer_does_not_bring_code(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(
        json.dumps({"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}})
    )
    (tmp_path / "mine.py").write_text("raise SystemExit('code of the model ran')")
    (tmp_path / "config.json").write_text(
        '{"model_type": "nobody-s", "auto_map": {"AutoConfig": "mine.Mine"}}'
    )
    with pytest.raises(RankwiseError, match="transformers does not read it"):
        read_tokenizer(tmp_path)


def test_what_we_serve_is_served_to_this_machine_alone() -> None:
    said = [re.findall(r'"--host",\s*"([^"]+)"', path.read_text()) for path in SOURCES]
    assert [host for hosts in said for host in hosts] == ["127.0.0.1"]


@pytest.mark.parametrize("path", RULES, ids=lambda p: p.name)
def test_rules_quote_what_they_put_into_a_command(path: Path) -> None:
    """`{x:q}`, a parameter that `repeat_option` or `braced_option` has quoted or that is fixed text; no code in the place of a command."""
    text = path.read_text()
    assert not re.search(r"^\s+(run|script|notebook|wrapper|cwl):", text, re.MULTILINE)
    fixed = (
        r'^\s+(\w+)=(?:lambda wildcards, (?:in|out)put: (?:repeat|braced)_option\(|"[^"{}]*" if )'
    )
    quoted = set(re.findall(fixed, text, re.MULTILINE))
    commands = re.findall(r'shell:\s+"""(.*?)"""', text, re.DOTALL)
    assert len(commands) == len(re.findall(r"^\s+shell:", text, re.MULTILINE))
    for command in commands:
        for place in re.findall(r"\{(.*?)\}", command):
            assert place.endswith(":q") or place.removeprefix("params.") in quoted, place


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "../../x", "a/b", "a b", "a\nb", "-x", "$(id)", ".", "a'b"],
)
def test_no_name_of_a_run_is_a_path_a_command_or_markup(name: str, tmp_path: Path) -> None:
    yaml = YAML()
    params = yaml.load((PRESETS / "embedded.yaml").read_text())
    params["runs"][name] = next(iter(params["runs"].values()))
    yaml.dump(params, tmp_path / "params.yaml")
    with pytest.raises(RankwiseError, match="a run is named by letters, digits"):
        load_params(tmp_path / "params.yaml")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "aliases stand for more than"),
        ("a: &a [*a]", "an alias holds itself"),
        ("!!python/object/apply:os.system ['id']", "is not plain YAML"),
        ("a: " + "[" * 5000, "is not plain YAML"),
        ("a: \x00", "is not plain YAML"),
        ('{a: ["\\ud800"]}', "is not plain YAML"),
        ('{"\\udfff": 1}', "is not plain YAML"),
        ("a: &a [1]\nb: &a [2]\nc: *a", "is not plain YAML .found duplicate anchor 'a'"),
    ],
)
def test_yaml_makes_no_objects_and_is_bounded(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RankwiseError, match=says):
        read_yaml(tmp_path / "a.yaml")


SWITCHES = [
    {"attn_implementation": "kernels-community/flash-attn"},
    {"_attn_implementation": "someone/kernel:forward"},
    {"_attn_implementation_internal": None, "attn_implementation": {"": "a/b"}},
    {"text_config": {"experts_implementation": "a/b"}},
    {"quantization_config": {"quant_method": "gptq"}},
    {"kernel_config": {"kernel_mapping": {}, "x": 1}},
    {"auto_map": {"AutoModelForCausalLM": "someone/else--modeling.Model"}},
]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_a_configuration_does_not_choose_code(switch: dict) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json, "):
        refuse_switches({"model_type": "llama", **switch})
    refuse_switches({"attn_implementation": "sdpa", "layers": [{"_attn_implementation": None}]})


def test_the_stage_prepare_refuses_it_before_transformers_reads_it(tmp_path: Path) -> None:
    tiny_llama().config.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    given = json.loads(path.read_text()) | {"architectures": ["LlamaForCausalLM"]}
    path.write_text(json.dumps(given | {"attn_implementation": "someone/kernel"}))
    with pytest.raises(RankwiseError, match=r"config\.json, attn_implementation"):
        read_model_config(tmp_path)
    path.write_text(json.dumps(given))
    assert read_model_config(tmp_path)[1] == "LlamaForCausalLM"
