"""dvc.lock: what DVC recorded, without the stages that dvc.yaml no longer has, which DVC itself keeps for good."""

from pathlib import Path


def prune_lock(lock: Path, stages: set[str]) -> None:
    """Remove the entries of stages that are gone, such as those of a run that was taken out.

    The results stay in DVC's cache, and its run cache finds them again if the run comes back.
    """
    from dvc.utils.serialize import dump_yaml, load_yaml

    content = load_yaml(lock)
    kept = {name: entry for name, entry in content["stages"].items() if name in stages}
    if len(kept) < len(content["stages"]):
        dump_yaml(lock, {**content, "stages": kept})
