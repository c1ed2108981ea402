"""Hostile command lines: every command with its own options, given files that fit, strange words, or nothing.

Left out are the commands that start other programs (an engine, a server, a browser) or make a study.
"""

import contextlib
import io
import json
import logging
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import typer

from rankwise import cli
from rankwise.commands.init import PRESETS
from rankwise.files.checksummed import to_checksummed_lines
from rankwise.params.evaluate import Evaluate
from tools.faults.hostile import STRANGE, changed

STARTERS = {"run", "ui", "bench", "init", "show"}
WRITTEN = {"--out", "--trials", "--work", "--items", "--checkpoint", "--record", "--summary", "--store", "--dvc"}  # fmt: skip
"""Options that name what is written: these stay below the folder, whatever user the test runs as."""
HARMLESS = [str(s) for s in STRANGE if isinstance(s, str) and s[:1] != "/" and ".." not in s]
_command = cache(typer.main.get_command)
"""The tree of commands, made once; making it is most of what a refusal costs."""


@cache
def _commands() -> dict[tuple[str, ...], list[Any]]:
    """Return words of a command → its options and arguments."""
    found: dict[tuple[str, ...], list[Any]] = {}
    for name, command in _command(cli.app).commands.items():
        inside = getattr(command, "commands", {"": command})
        for below, one in inside.items():
            found[tuple(filter(None, (name, below)))] = one.params
    return {words: params for words, params in found.items() if words[0] not in STARTERS}


def put_words(random: Random, folder: Path) -> None:
    """Write a command line, and the files that it may name."""
    files = _files(random, folder)
    words, params = random.choice(list(_commands().items()))
    line = list(words)
    for param in params:
        option = param.opts[0]
        if not param.required and random.random() < 0.8:
            continue
        line += [option] if option.startswith("--") else []
        if not getattr(param, "is_flag", False):
            pool = HARMLESS if option in WRITTEN else [*files * 10, *map(str, STRANGE), "0", "3"]
            line.append(random.choice(pool))
    for _ in range(random.choice([0, 0, 1, 2])):
        at = random.randrange(len(line) + 1)
        line[at : at + random.randint(0, 1)] = random.choice([[], ["--"], ["-x"], line[:1]])
    (folder / "words.json").write_text(json.dumps(line))


def _files(random: Random, folder: Path) -> list[str]:
    """Write small files of the kinds that commands read; one of them is another every time."""
    texts = {
        "a.yaml": (PRESETS / "local.yaml").read_text(),
        "a.jsonl": to_checksummed_lines([{"trial": 0}]),
    }
    for name, text in texts.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    (folder / "a.json").write_text(json.dumps(changed(Evaluate().model_dump(), random)))
    return ["a.json", *texts, "."]


def call(folder: Path) -> None:
    """Call the command line in the folder; what it says is taken in, and looked at where it refuses."""
    words = json.loads((folder / "words.json").read_text())
    said = io.StringIO()
    handlers = logging.getLogger().handlers
    others = handlers[:]
    handlers.clear()  # so that the command line makes its own, on the stream that is taken in
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
        patch.object(sys, "argv", ["rankwise", *words]),
        patch("typer.main.get_command", _command),
    ):
        try:
            cli.main()
        except SystemExit as end:
            clean = end.code in (0, None) or (end.code == 2 and said.getvalue())
            if not clean or "Traceback" in said.getvalue():
                shown = said.getvalue()[-600:]
                raise ValueError(f"exit code {end.code} of {words}: {shown}") from end
        finally:
            handlers[:] = others
