"""Code fingerprints: which change of which module re-runs which stage, and which changes re-run nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankwise.params.study import Params
from rankwise.validation.params import load_params
from rankwise.workflow import fingerprints
from rankwise.workflow.fingerprints import fingerprint, list_fingerprints, write_fingerprints
from rankwise.workflow.imports import closure, module_file
from rankwise.workflow.rule_source import hash_rule
from rankwise.workflow.rules import RULES
from rankwise.workflow.source_tokens import hash_python
from tests.workflow.studies import ROOT
from tools.code_dependencies import TABLE, find_dependencies, format_table, list_modules

MODULES = list_modules()


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "src/rankwise/presets/embedded.yaml")


def test_every_module_re_runs_the_stages_of_the_table() -> None:
    found = format_table(find_dependencies())
    assert found == TABLE.read_text(encoding="utf-8"), "Run: python -m tools.code_dependencies"


@pytest.mark.parametrize("module", MODULES)
def test_code_counts_and_comments_do_not(module: str) -> None:
    path = module_file(module)
    assert path is not None
    source = path.read_text(encoding="utf-8")
    before = hash_python(source)
    assert hash_python(f"{source}\n\n# a comment\n") == before
    assert hash_python(_without_docstrings(source)) == before
    assert hash_python(source.replace("\n\n\n", "\n\n\n\n\n")) == before
    assert hash_python(f"{source}\nEDITED = True\n") != before


def _without_docstrings(source: str) -> str:
    """Return the source with another text in every docstring that stands on lines of its own."""
    lines = source.splitlines(keepends=True)
    for node in reversed(list(_docstrings(ast.parse(source)))):
        indent = " " * node.col_offset
        assert node.end_lineno is not None
        lines[node.lineno - 1 : node.end_lineno] = [f'{indent}"""Another sentence."""\n']
    return "".join(lines)


def _docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    """Yield the statements that are a string and nothing else, in the order of the source."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield node
        else:
            yield from _docstrings(node)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("a = 1  # one\n", "a = 1\n", True),
        ("a = f(1,\n      2)\n", "a = f(1, 2)\n", True),
        ("def f():\n  return 1\n", "def f():\n    return 1\n", True),
        ("if a:\n    b = 1\nc = 2\n", "if a:\n    b = 1\n    c = 2\n", False),
        ("a = 'x'\n", "a = 'y'\n", False),
        ("a = f'{b} {c}'\n", "a = f'{b}  {c}'\n", False),
        ("a = f'{b:{c}}'  # d\n", "a = f'{b:{c}}'\n", True),
        ("class A:\n    x: int\n    '''Units.'''\n", "class A:\n    x: int\n", True),
        ("a = 1\n", "a = 10\n", False),
        ("ab = 1\n", "a b = 1\n", False),
    ],
)
def test_tokens_count_and_layout_does_not(before: str, after: str, same: bool) -> None:
    assert (hash_python(before) == hash_python(after)) == same


def test_every_python_gives_the_same_hash() -> None:
    """Python 3.11 makes one token of an f-string, later ones make several."""
    source = (
        'def f(a):\n    """Doc."""\n    return f"{a:>{len(a)}} {a!r}" + rf"\\d{a}{{}}"  # why\n'
    )
    expected = "d8b658da7221d1403b22bc13c90aa8ce8e37e455bb5d1858cfa76c0bfa8c8126"
    assert hash_python(source) == expected


@pytest.mark.parametrize(
    ("stage", "modules"),
    {
        "prepare_corpora": ("linalg", "model", "checkpoint", "decompose", "statistics"),
        "covariance": ("report", "evaluate", "tracking", "planning", "workflow", "decompose"),
        "fisher": ("report", "evaluate", "tracking", "planning", "workflow", "decompose"),
        "evaluate": ("decompose", "allocate", "linalg", "statistics", "search", "report"),
        "track": ("report",),
        "build": ("search", "allocate", "decompose"),
    }.items(),
)
def test_closures_are_narrow(stage: str, modules: tuple[str, ...]) -> None:
    packages = {name.split(".")[1] for name in closure(f"rankwise.stages.{stage}") if "." in name}
    if stage == "track":  # the contracts of the methods that its records name
        modules = tuple(name for name in modules if name not in ("allocate", "decompose"))
    assert not packages & set(modules)


def test_report_touches_the_report_alone() -> None:
    users = {
        module: stages
        for module, stages in find_dependencies().items()
        if module.startswith("rankwise.report.")
    }
    assert users
    assert all(stages <= {"report"} for stages in users.values())


def test_data_files_count_byte_by_byte(params: Params) -> None:
    files = {
        stage: fingerprint(stage, None, params, RULES)["files"]
        for stage in ("build", "report", "prepare_model")
    }
    assert "rankwise/hub/linears.py" in files["build"]
    assert "rankwise/card/model_card.md.j2" in files["build"]
    assert "rankwise/report/templates/page.js" in files["report"]
    assert "rankwise/model/family_files/llama.yaml" in files["prepare_model"]


def test_what_a_study_reads_of_the_package_counts_as_its_code(params: Params) -> None:
    text = ROOT / "src/rankwise/embedded/text/test.txt"
    without = fingerprint("prepare_corpora", None, params, RULES)
    with_text = fingerprint("prepare_corpora", None, params, RULES, [text])
    assert set(with_text["files"]) - set(without["files"]) == {"rankwise/embedded/text/test.txt"}


def test_files_are_written_where_they_change_alone(params: Params, tmp_path: Path) -> None:
    names = write_fingerprints(params, tmp_path, RULES, {})
    assert set(names) == {path.stem for path in tmp_path.glob("*.json")}
    assert len(names) == len(list_fingerprints(params))
    (tmp_path / "decompose.gone.json").write_text("{}")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    (tmp_path / "evaluate.json").write_text("{}")
    assert write_fingerprints(params, tmp_path, RULES, {}) == ["evaluate"]
    assert not (tmp_path / "decompose.gone.json").exists()
    unchanged = {
        path: at for path, at in times.items() if path.stem not in ("evaluate", "decompose.gone")
    }
    assert {path: path.stat().st_mtime_ns for path in unchanged} == unchanged


def test_of_a_rule_counts_what_decides_what_it_makes(tmp_path: Path) -> None:
    for file in RULES.glob("*.smk"):
        (tmp_path / file.name).write_text(file.read_text())
    before = hash_rule(tmp_path, "speed", "speed")

    def changed(file: str, old: str, new: str) -> bool:
        hash_rule.__globals__["_read_blocks"].cache_clear()
        text = (tmp_path / file).read_text()
        assert old in text
        (tmp_path / file).write_text(text.replace(old, new))
        try:
            return hash_rule(tmp_path, "speed", "speed") != before
        finally:
            (tmp_path / file).write_text(text)
            hash_rule.__globals__["_read_blocks"].cache_clear()

    assert changed("speed.smk", "--against", "--dense")
    assert changed("common.smk", "def manifest(run):", "def manifest(run, *_):")
    assert not changed("speed.smk", 'mem_mb=memory("speed")', 'mem_mb=memory("evaluate")')
    assert not changed("speed.smk", '"""Time one run', '"""Measure one run')
    assert not changed("common.smk", "def rows(run, trials):", "def rows(run, *trials):")


def test_no_file_outside_the_study_is_named(params: Params) -> None:
    for stage, method in list_fingerprints(params):
        content = fingerprint(stage, method, params, RULES)
        paths = [*content["modules"], *content["files"]]
        assert all(path.startswith("rankwise") for path in paths)
    assert not Path(fingerprints.CODE).is_absolute()
