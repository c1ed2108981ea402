"""Section track: the experiment of MLflow."""

from typing import Annotated

from pydantic import Field

from rankwise.params.section import Section


class Track(Section):
    """Section ``track``."""

    experiment: Annotated[str, Field(min_length=1)] = "rankwise"
