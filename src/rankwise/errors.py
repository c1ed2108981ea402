"""Errors for the user: one sentence, exit code 2, no traceback."""

import difflib
import re
from collections.abc import Iterable


class RankwiseError(Exception):
    """An error the user can fix; the message says what, where, expected, found, how to fix it."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return "did you mean 'x'? valid: a, b, c" for a wrong name."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}valid: {', '.join(names) or 'none'}"


def without_passwords(text: str) -> str:
    """Return a text without the user name and password of every address in it."""
    return re.sub(r"//[^/@\s]*@", "//…@", text)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means out of memory, on the CPU or on a GPU."""
    message = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in message or "out of memory" in message)
    )
