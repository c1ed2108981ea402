"""A small study for the cluster, and a profile that looks at its jobs often."""

from tests.workflow.studies import Study

ONE_RUN = (
    "runs={plain: {decompose: svd, allocate: uniform, keep: 0.6}}",
    "compute.layers_per_job=2",
    "prepare.tasks.source=null",
)


def often(study: Study) -> None:
    """Let a study's profile look at its jobs every few seconds: they are short."""
    profile = study.folder / "profiles/slurm/config.yaml"
    text = profile.read_text()
    for key in ("slurm-init-seconds-before-status-checks", "seconds-between-status-checks"):
        assert f"\n{key}: 5\n" in text
        text = text.replace(f"\n{key}: 5\n", f"\n{key}: 6\n")
    profile.write_text(text)
