"""What transformers does not read, in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rankwise.errors import RankwiseError, is_out_of_memory

if TYPE_CHECKING:
    pass


@contextmanager
def explain_refusal(what: str) -> Iterator[None]:
    """Turn an error of transformers into a RankwiseError; it raises any type, even plain Exception."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        message = " ".join(str(error).split())[:300]
        raise RankwiseError(
            f"{what}: transformers does not read it ({type(error).__name__}: {message}); "
            "get the model's files again from its author"
        ) from error
