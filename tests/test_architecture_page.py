"""docs/dev/architecture.md names packages, files and functions that are there."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/rankwise"
TEXT = (ROOT / "docs/dev/architecture.md").read_text()


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_path_that_the_page_names_is_there():
    paths = re.findall(r"`((?:\w+/)+[\w.]+\.(?:py|j2|yaml|smk))`", TEXT)
    assert len(paths) > 60
    missing = {path for path in paths if not any((f / path).is_file() for f in (PACKAGE, ROOT))}
    assert not missing


def test_every_row_of_where_to_change_things_names_what_its_file_defines():
    rows = re.findall(r"`([\w/.]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", section("Where to change things"))
    assert len(rows) > 30
    for path, names in rows:
        source = (PACKAGE / path).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            last = name.rpartition(".")[2]
            defined = rf"^\s*(?:def|class) {last}\b|^{last}\b.*="
            assert re.search(defined, source, re.MULTILINE), f"{path} does not define {name}"


def test_the_table_of_packages_is_the_order_that_lint_imports_checks():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    [contract] = tools["importlinter"]["contracts"]
    layers = [set(layer.split(" | ")) for layer in contract["layers"]]
    cells = re.findall(r"^\| (`.*?) \|", section("Packages"), re.MULTILINE)
    rows = [set(re.findall(r"`(\w+)(?:\.py|/)`", cell)) for cell in cells]
    assert rows == layers
