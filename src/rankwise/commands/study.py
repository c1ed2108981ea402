"""What every command checks of the study in the working directory."""

from pathlib import Path

from rankwise.errors import RankwiseError
from rankwise.workflow.migration import refuse_old_study


def require_study() -> None:
    """Raise RankwiseError unless the working directory holds a study of this version."""
    for needed in ("params.yaml", "Snakefile"):
        if not Path(needed).is_file():
            raise RankwiseError(
                f"there is no {needed} in {Path.cwd()}; make a study with: rankwise init DIR"
            )
    refuse_old_study()
