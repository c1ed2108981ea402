"""The tokenizer of a model folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from rankwise.inputs.refusals import explain_refusal


def read_tokenizer(folder: Path, config: Any = None) -> Any:
    """Return a model folder's tokenizer, using only the library's code; RankwiseError for a broken one."""
    from transformers import AutoTokenizer

    options = {} if config is None else {"config": config}
    with explain_refusal(f"{folder}, its tokenizer"):
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
