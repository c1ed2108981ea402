"""Rankwise: low-rank compression of large language models as a reproducible workflow.

After ``import rankwise`` transformers' Auto classes open its checkpoints.
"""

import importlib
from types import ModuleType

from wrapt import register_post_import_hook

__version__ = "0.1.0"


def _register(auto: ModuleType) -> None:
    """Make the checkpoints' ``model_type`` known to transformers' ``configuration_auto``."""
    # By name: a stage depends on the files that travel with a checkpoint only where it imports them.
    config = importlib.import_module("rankwise.hub.configuration_rankwise").RankwiseConfig
    auto.AutoConfig.register(config.model_type, config, exist_ok=True)


# Importing transformers takes seconds, so that waits until somebody does.
register_post_import_hook(_register, "transformers.models.auto.configuration_auto")
