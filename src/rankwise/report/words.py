"""Numbers and parameters as a person writes them."""

from typing import Any

TIMES, NOTHING = "\u00d7", "\u2013"


def number(value: float) -> str:
    """Four figures that matter, thousands set apart."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.4g}"


def percent(value: float | None, error: float | None = None) -> str:
    """A share, with its standard error where there is one."""
    if value is None:
        return NOTHING
    return f"{value:.1%}" + (f" \u00b1 {error:.1%}" if error is not None else "")


def between(quartiles: tuple[float, float]) -> str:
    """Two rates."""
    return f"{quartiles[0]:,.0f} to {quartiles[1]:,.0f}"


def join_words(text: str) -> str:
    """Return a number with its unit and interval, such that lines break between the two only."""
    return text.replace(", ", ",\u00a0").replace(" %", "\u00a0%").replace("\u2248 ", "\u2248\u00a0")


def word(value: Any) -> str:
    """One parameter."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(word, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {word(inner)}" for key, inner in value.items()) or "none"
    return str(value)
