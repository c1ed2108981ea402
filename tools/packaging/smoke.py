"""Wheel and sdist built, installed into an empty environment, and used: ``python -m tools.packaging.smoke``.

For every Python from 3.11 on that is named (default: those found), with all dependencies from the index
at the locked versions: the wheel runs a tiny study to its end, then the sdist is put in its
place and makes a study. ``borrow`` installs the wheel alone and takes the dependencies of this
environment, which is quick and what the tests do.
"""

import argparse
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.workflow.studies import FEWER, make_study
from tools.packaging.dependencies import locked

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")


def built(folder: Path) -> tuple[Path, Path]:
    """Build wheel and sdist into a folder; return both."""
    words = ["-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def installed(python: str, package: Path, folder: Path, *, borrow: bool) -> Path:
    """Install a package into a new environment; return its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inside = folder / "bin/python"
    if borrow:
        [place] = folder.glob("lib/python*/site-packages")
        there = [path for path in sys.path if path.endswith("site-packages")]
        (place / "borrowed.pth").write_text("\n".join(there) + "\n")
    pip = [inside, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    if borrow:
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", package], check=True)
        return inside
    # Only what the package asks for, at the locked versions: hashes would have to be given for all or none.
    pins = folder / "pins.txt"
    pins.write_text("\n".join(f"{name}=={version}" for name, version in locked().items()))
    subprocess.run([*pip, "-c", pins, package], check=True)
    return inside


def smoke(python: Path, folder: Path) -> str:
    """Make a study of the default preset with an installed package, and ask what it would run."""
    environment = _alone(python)

    def do(*words: str, at: Path) -> str:
        done = subprocess.run(
            [python, *words], cwd=at, env=environment, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr

    where = do("-c", "import rankwise; print(rankwise.__file__)", at=folder).strip()
    assert Path(where).is_relative_to(python.parents[1].resolve()), where
    do("-m", "rankwise", "init", "study", at=folder)
    return do("-m", "snakemake", "--dry-run", "--quiet", "host", at=folder / "study")


def whole(python: Path, folder: Path) -> None:
    """Run a tiny study to its end, every kind of stage of it, with an installed package."""
    study = make_study(folder / "whole", quick=False, settings=FEWER)
    shutil.rmtree(study.folder / "package")  # the installed one is meant
    done = subprocess.run(
        [python, "-m", "rankwise", "run"],
        cwd=study.folder, env=_alone(python), text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (study.folder / "data/report/index.html").is_file()


def _alone(python: Path) -> dict[str, str]:
    """Return this environment, but with an installed package's own programs and modules first."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return environment | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}


def found(version: str) -> str | None:
    """Return an interpreter of a version that starts: from the search path, or pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    own = sorted(root.glob(f"versions/{version}.*/bin/python"))
    for python in [f"python{version}", *map(str, own)]:
        words = [python, "-c", "import ensurepip, venv"]
        with suppress(OSError):
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                return python
    return None


def tried(python: str, wheel: Path, sdist: Path, folder: Path) -> str:
    """Return what came of both packages in a new environment, which is gone afterwards."""
    with TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        try:
            inside = installed(python, wheel, place / "venv", borrow=False)
            subprocess.run([inside, "-m", "pip", "check"], check=True, capture_output=True)
            smoke(inside, place)
            whole(inside, place)
            again = ["--force-reinstall", "--no-deps", sdist]
            subprocess.run([inside, "-m", "pip", "install", "-qq", *again], check=True)
            shutil.rmtree(place / "study")
            smoke(inside, place)
        except (OSError, AssertionError, subprocess.CalledProcessError) as error:
            return f"fails: {error}"
    return "works"


def main() -> int:
    """Build, install and try both packages on every Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "pythons", nargs="*", help="interpreters; default: those of 3.11 to 3.13 that are there"
    )
    asked = parser.parse_args()
    there = {version: found(version) for version in VERSIONS}
    failed = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        wheel, sdist = built(folder)
        for python in asked.pythons or [python for python in there.values() if python]:
            said = tried(python, wheel, sdist, folder)
            failed |= said != "works"
            print(f"{wheel.name} and {sdist.name}, {python}: {said}", flush=True)
    missing = [] if asked.pythons else [version for version, python in there.items() if not python]
    for version in missing:
        print(f"Python {version}: not here, not tried", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
