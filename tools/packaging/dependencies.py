"""What rankwise stands on: known holes and licences of the locked packages: ``python -m tools.packaging.dependencies``.

Asks no network: holes are those of the list below, licences those that the installed packages state.
Ends with 1 where the lock, or a lower bound of pyproject.toml, lets a release with a known hole in.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements.torch.lock")
"""With hashes; PyTorch by itself, without."""
HOLES = {
    "torch": ("2.10", "torch.load(weights_only=True) could run code (CVE-2025-32434, and one mended after it)"),
    "transformers": ("5.3", "config.json could bypass trust_remote_code=False where 'kernels' is installed"),
    "jinja2": ("3.1.6", "templates could leave the sandbox by the filter attr (CVE-2025-27516)"),
    "pyyaml": ("5.4", "full_load could make objects (CVE-2020-14343)"),
    "requests": ("2.32.4", "credentials of .netrc could go to another host (CVE-2024-47081)"),
    "urllib3": ("2.5.0", "redirects could not be turned off (CVE-2025-50181)"),
    "h11": ("0.16.0", "lenient chunked encoding (CVE-2025-43859)"),
    "setuptools": ("78.1.1", "a package index could write outside its folder (CVE-2025-47273)"),
    "pyarrow": ("14.0.1", "reading a file could run code (CVE-2023-47248)"),
    "gitpython": ("3.1.41", "an untrusted search path on Windows (CVE-2024-22190)"),
    "gunicorn": ("23.0.0", "request smuggling (CVE-2024-6827)"),
    "werkzeug": ("3.0.6", "a form could use up memory (CVE-2024-49767)"),
    "idna": ("3.7", "a name could use up time (CVE-2024-3651)"),
    "sqlparse": ("0.5.0", "nested lists could exhaust the stack (CVE-2024-4340)"),
    "nltk": ("3.9", "its data packages were pickles (CVE-2024-39705)"),
}  # fmt: skip
"""Package → first release without the hole, and what it was."""
COPYLEFT = ("GPL", "MPL", "Mozilla")


def locked() -> dict[str, str]:
    """Return package → version of both locks; every package is pinned exactly."""
    lines = "\n".join((ROOT / name).read_text() for name in LOCKS)
    pins = re.findall(r"^([\w.-]+)==([^\s;\\]+)", lines, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def lowest() -> dict[str, str]:
    """Return package → least version that pyproject.toml lets in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {}
    for requirement in map(Requirement, project["dependencies"]):
        [bound] = [s.version for s in requirement.specifier if s.operator in (">=", "==")]
        found[canonicalize_name(requirement.name)] = bound
    return found


def holes() -> list[str]:
    """Return a sentence for every known hole that lock or lower bounds leave open."""
    return [
        f"{where}: {name} {version} is older than {HOLES[name][0]}: {HOLES[name][1]}"
        for where, versions in (("requirements.lock", locked()), ("pyproject.toml", lowest()))
        for name, version in versions.items()
        if name in HOLES and Version(version) < Version(HOLES[name][0])
    ]


def licence(name: str) -> str:
    """Return what an installed package states of its licence, else the file that it brings."""
    about = metadata.metadata(name)
    kinds = [kind for kind in about.get_all("Classifier", []) if kind.startswith("License ::")]
    stated = (about.get("License") or "").partition("\n")[0][:60]
    classified = "; ".join(kind.rpartition(" :: ")[2] for kind in kinds)
    brought = ", ".join(about.get_all("License-File", []))
    return about.get("License-Expression") or classified or stated or brought or "not stated"


def main() -> int:
    """Print every locked package with its licence, those that ask for the same licence last, then the holes."""
    listed = [(licence(name), f"{name} {version}") for name, version in locked().items()]
    for of, package in sorted(listed, key=lambda row: (any(c in row[0] for c in COPYLEFT), row)):
        print(f"{package}: {of}")
    found = holes()
    print("\n".join(found) or "No release with a hole of the list.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
