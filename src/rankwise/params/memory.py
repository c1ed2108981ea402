"""What is said to a person when memory runs out: which stage, and the setting that makes it need less."""

KILLED = 137
"""Exit code of a job that got SIGKILL, which is how a system takes memory back."""
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
"""Stage → what to lower."""
OTHERS = "the number of jobs beside each other: --cores"


def advise_less_memory(words: list[str]) -> str:
    """Return the advice for a command line, or for the parts of a log's name."""
    setting = next((SETTINGS[word] for word in words if word in SETTINGS), OTHERS)
    return f"lower {setting}, or use a machine with more memory"
