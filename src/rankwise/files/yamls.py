"""Reading of untrusted YAML: only data, of bounded size, with a clear error for every mistake."""

import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import ReusedAnchorWarning, YAMLError

from rankwise.errors import RankwiseError

MOST = 1_000_000
"""Maximum number of values in a file; values that aliases repeat count once per repetition."""


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; refuses object tags, recursive aliases and reused anchors."""
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReusedAnchorWarning)
            value = YAML(typ="safe", pure=True).load(text)
        size = _count_values(value, {})
    except UnicodeDecodeError as error:
        raise RankwiseError(f"{path} is not UTF-8 text: {error}") from error
    except (
        *(YAMLError, ReusedAnchorWarning, ValueError, RecursionError),
        *(TypeError, KeyError, AttributeError),
    ) as error:
        # The library raises the last three for some broken text.
        message = " ".join(str(error).split())[:500]
        raise RankwiseError(
            f"{path} is not plain YAML ({message or type(error).__name__})"
        ) from error
    if size > MOST:
        raise RankwiseError(
            f"{path}: its aliases stand for more than {MOST:,} values; write it without them"
        )
    return value


def _count_values(value: Any, known: dict[int, int]) -> int:
    """Return the number of values after expanding aliases; raises RecursionError for a recursive alias.

    Raises UnicodeEncodeError for a lone surrogate (from an escape), which no file or terminal accepts.
    """
    if isinstance(value, str):
        value.encode()
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = -1  # being counted
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count_values(part, known) for part in inside)
    elif known[id(value)] < 0:
        raise RecursionError("an alias holds itself")
    return known[id(value)]
