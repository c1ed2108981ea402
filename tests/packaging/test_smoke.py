"""What is published holds what a study needs, and works where the checkout is not."""

import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.packaging import smoke as smoke_module
from tools.packaging.smoke import built, found, installed, smoke


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("built"))


def test_the_wheel_makes_a_study(packages: tuple[Path, Path], tmp_path: Path) -> None:
    python = installed(sys.executable, packages[0], tmp_path / "venv", borrow=True)
    said = smoke(python, tmp_path)
    assert "rule all" in said
    assert "build" in said


def test_what_the_packages_hold(packages: tuple[Path, Path]) -> None:
    wheel, sdist = packages
    names = zipfile.ZipFile(wheel).namelist()
    assert "rankwise/_workflow/rules/common.smk" in names
    assert "rankwise/presets/embedded.yaml" in names
    assert not [name for name in names if name.startswith(("tests", "tools", "data"))]
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "Snakefile", "workflow/rules/common.smk"} <= inside
    assert not [name for name in inside if name.startswith("data/params")]
    ours = {name.removeprefix("rankwise/_workflow/") for name in names if "/_workflow/" in name}
    assert ours - {"Snakefile"} <= {name.removeprefix("workflow/") for name in inside}


def test_a_python_that_is_not_here_is_said_not_to_be(
    packages: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found("{}.{}".format(*sys.version_info)) is not None
    monkeypatch.setattr(smoke_module, "VERSIONS", ("3.999",))
    monkeypatch.setattr(smoke_module, "built", lambda folder: packages)
    monkeypatch.setattr(sys, "argv", ["smoke"])
    assert smoke_module.main() == 0
    assert capsys.readouterr().out == "Python 3.999: not here, not tried\n"
