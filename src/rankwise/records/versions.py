"""The versions of the libraries that numbers depend on."""

from importlib.metadata import version

LIBRARIES = ("rankwise", "torch", "transformers", "lm_eval")


def installed_versions() -> dict[str, str]:
    """Return library → version."""
    return {name: version(name) for name in LIBRARIES}
