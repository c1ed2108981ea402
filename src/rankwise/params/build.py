"""Section build: how a checkpoint is stored and checked."""

from typing import Literal

from rankwise.params.section import Count, Section


class Build(Section):
    """Section ``build``."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Precision of the checkpoint; null = that of the model."""
    check_sequences: Count = 8
    """Calibration sequences on which the checkpoint is compared with its factors."""
    worse_than_unigram: Literal["refuse", "record"] = "refuse"
    """Action for a model that predicts these sequences worse than token frequencies do."""
