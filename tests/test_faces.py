"""Package faces: every name is imported from the file that defines it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/rankwise"
FACES = sorted(PACKAGE.glob("*/**/__init__.py"))
EXCEPTIONS = ("allocate", "decompose", "refine", "workflow")
"""The registries of methods; and the package from which Snakefiles of version 0.1 import, to be refused."""
MODULES = {"__init__", "__main__", "cli", "errors"}


@pytest.mark.parametrize("face", FACES, ids=lambda path: path.parent.name)
def test_a_package_s_face_holds_its_docstring_alone(face: Path) -> None:
    docstring, *rest = ast.parse(face.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    if face.parent.name not in EXCEPTIONS:
        assert rest == [], f"{face.parent.name}: import every name from the file that defines it"


def test_few_modules_stand_at_the_top() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == MODULES
