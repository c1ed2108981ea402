"""Tiny dense models and tokenizers in a folder, as a study reads them."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rankwise.inputs.sources import MODEL_FILES, hash_files
from rankwise.model.families import family_of
from rankwise.records.model import ModelManifest

ARCHITECTURE = "LlamaForCausalLM"


def save_tokenizer(folder):
    words = {f"w{i}": i for i in range(67)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))  # noqa: S106
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "w0", "eos_token": "w66"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder)


def save_model(model, folder):
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return ModelManifest(
        source=str(folder),
        revision=None,
        dtype="float32",
        architecture=ARCHITECTURE,
        family=family_of(ARCHITECTURE),
        layers=model.config.num_hidden_layers,
        parameters=model.num_parameters(),
        files=hash_files(folder, MODEL_FILES),
    )
