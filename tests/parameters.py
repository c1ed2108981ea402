"""The repository's params.yaml with one setting changed."""

from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]


def changed(tmp_path, *path, value):
    yaml = YAML()
    given = yaml.load((ROOT / "params.yaml").read_text())
    at = given
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    yaml.dump(given, tmp_path / "params.yaml")
    return tmp_path / "params.yaml"
