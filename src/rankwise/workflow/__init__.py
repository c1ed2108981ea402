"""The glue of Snakemake and DVC: rules, engines, locks, clusters, code fingerprints."""

from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    """Refuse the Snakefile of a study of version 0.1, which imports ``RULES`` from here, in a sentence."""
    if name == "RULES":
        import sys

        from rankwise.workflow.migration import REFUSAL

        print(f"rankwise: {REFUSAL}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    raise AttributeError(name)
