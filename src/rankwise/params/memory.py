"""Advice for a job that runs out of memory: the setting that lowers its stage's memory."""

KILLED = 137
"""Exit code of a job that got SIGKILL, the signal that a system sends when memory runs out."""
SETTINGS = {
    "covariance": "covariance.batch, or set covariance.streaming to true",
    "fisher": "fisher.batch, or set fisher.streaming to true",
    "decompose": "compute.layers_per_job",
    "allocate": "the batch of the allocator's section, or sample.search.sequences",
    "suggest": "the batch of the allocator's section",
    "trial": "the batch of the allocator's section",
    "build": "build.check_sequences",
    "refine": "the batch of the refiner's section",
    "evaluate": "evaluate.batch",
    "speed": "speed.batches, or set it to [] where nothing need be timed",
}
"""Stage → setting to lower."""
OTHERS = "the number of parallel jobs: --cores"


def advise_less_memory(words: list[str]) -> str:
    """Return the advice for the stage in ``words``: a command line, or the parts of a log's name."""
    setting = next((SETTINGS[word] for word in words if word in SETTINGS), OTHERS)
    return f"lower {setting}, or use a machine with more memory"
