"""Section report: the title and the intervals of the page."""

from typing import Annotated

from pydantic import Field

from rankwise.params.section import Section, Seed


class Report(Section):
    """Section ``report``."""

    title: str = "rankwise study"
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Confidence level of the paired bootstrap intervals [-]."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples of each interval."""
    seed: Seed = 0
    """Seed of the bootstrap."""
