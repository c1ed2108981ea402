"""The tokenizer: byte-level BPE, trained on the text so that nearly every word is one token.

A text and every document in it begin with an unwritten space, as in LLaMA's tokenizer: a name that
opens a document is then the same token as that name further on, and can be matched with it. What
separates two documents is read as a space, two line breaks and a space.
"""

from collections.abc import Iterable

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from rankwise.embedded.grammar import SEPARATOR

VOCABULARY = 1536
CONTEXT = 256
"""Longest sequence of the model, in tokens."""
WINDOW = 128
"""Longest training sequence, in tokens; nearly every document is shorter."""
BOS, EOS = "<s>", "</s>"


def train_tokenizer(documents: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train on documents; like LLaMA's, the result puts ``<s>`` before every text it encodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace(SEPARATOR, f" {SEPARATOR}  ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteLevel(),
            decoders.Replace(f" {SEPARATOR}  ", SEPARATOR),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
