"""Wheel and sdist built, installed into an empty environment, and used: ``python -m tests.packaging.smoke``.

For every Python from 3.11 on that is named (default: those found), with all dependencies from the index
at the versions of requirements.lock. ``borrow`` installs the wheel alone and takes the dependencies of
this environment, which is quick and what the tests do.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

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
    options = (
        ["--no-deps", "--no-build-isolation"] if borrow else ["-c", ROOT / "requirements.lock"]
    )
    words = [
        inside,
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        *options,
        package,
    ]
    subprocess.run(words, check=True)
    return inside


def smoke(python: Path, folder: Path) -> str:
    """Make a study of the default preset with an installed package, and ask what it would run."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

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


def main() -> int:
    """Build, install and try both packages on every Python."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "pythons", nargs="*", help="interpreters; default: those on the search path"
    )
    asked = parser.parse_args()
    pythons = asked.pythons or [f"python{version}" for version in VERSIONS]
    failed = False
    with TemporaryDirectory() as name:
        folder = Path(name)
        for package in built(folder):
            for number, python in enumerate(pythons):
                place = folder / f"{package.suffix[1:]} {number}"
                place.mkdir()
                try:
                    smoke(installed(python, package, place / "venv", borrow=False), place)
                    said = "works"
                except (OSError, AssertionError, subprocess.CalledProcessError) as error:
                    said, failed = f"fails: {error}", True
                print(f"{package.name}, {python}: {said}", flush=True)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
