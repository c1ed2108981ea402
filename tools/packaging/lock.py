"""Hashes of all files of every locked package, written anew: ``python -m tools.packaging.lock``.

After a pin in requirements.lock was changed by hand. Asks the package index, by uv: ``pip install uv``.
"""

import subprocess
import sys
from pathlib import Path

from tools.packaging.dependencies import LOCKS, ROOT, locked

OPTIONS = (
    *("--quiet", "--no-deps", "--generate-hashes", "--no-annotate", "--no-header"),
    *("--universal", "--python-version", "3.11"),
)


def hashed(lock: Path, pins: dict[str, str]) -> str:
    """Return the text of a lock: its first comment, then every pin with the hashes of its files."""
    head = [line for line in lock.read_text().splitlines(keepends=True) if line.startswith("#")]
    asked = "\n".join(f"{name}=={version}" for name, version in pins.items())
    words = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, "-"]
    made = subprocess.run(words, input=asked, text=True, capture_output=True, check=False)
    if made.returncode:
        sys.exit(f"{lock.name} stays as it was: {made.stderr.strip()}")
    return "".join(head) + made.stdout


def main() -> None:
    """Write requirements.lock; the other lock has no hashes."""
    lock = ROOT / LOCKS[0]
    pins = locked()
    del pins["torch"]
    lock.write_text(hashed(lock, pins))


if __name__ == "__main__":
    main()
