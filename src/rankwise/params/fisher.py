"""Section fisher: the backward pass over the calibration text."""

from typing import Literal

from rankwise.params.section import Count, Section, Seed


class FisherParams(Section):
    """Section ``fisher``: the backward pass, for decomposers that need it."""

    batch: Count = 16
    """Sequences in one forward and backward pass."""
    labels: Literal["text", "model"] = "text"
    """Labels of the loss: the next tokens of the text, or tokens sampled from the model's prediction."""
    seed: Seed = 0
    """Seed for labels sampled from the model."""
    streaming: bool = False
    """Whether only one layer group (`compute.layers_per_job`) of the dense model is in memory at a time."""
