"""Reading YAML that a person or a stranger wrote: as data, of bounded size, each mistake a sentence."""

import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import ReusedAnchorWarning, YAMLError

from rankwise.errors import RankwiseError

MOST = 1_000_000
"""Values that a file may stand for, those that aliases repeat counted as often as they are repeated."""


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds; no tag makes an object, and no alias holds itself or could mean two things."""
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReusedAnchorWarning)
            value = YAML(typ="safe", pure=True).load(text)
        size = _size(value, {})
    except UnicodeDecodeError as error:
        raise RankwiseError(f"{path} is not UTF-8 text: {error}") from error
    except (
        *(YAMLError, ReusedAnchorWarning, ValueError, RecursionError),
        *(TypeError, KeyError, AttributeError),
    ) as error:
        # The last three are what the library makes of some broken text.
        said = " ".join(str(error).split())[:500]
        raise RankwiseError(f"{path} is not plain YAML ({said or type(error).__name__})") from error
    if size > MOST:
        raise RankwiseError(
            f"{path}: its aliases stand for more than {MOST:,} values; write it without them"
        )
    return value


def _size(value: Any, known: dict[int, int]) -> int:
    """Return how many values there are, written out; raises RecursionError where there is no end.

    And UnicodeEncodeError for half a character (a lone surrogate, by an escape), which no file or terminal takes.
    """
    if isinstance(value, str):
        value.encode()
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = -1  # being counted
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(part, known) for part in inside)
    elif known[id(value)] < 0:
        raise RecursionError("an alias holds itself")
    return known[id(value)]
