"""Stage sample: token windows for one role, seeded, disjoint from another role's."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.stages.options import ModelFile, OutFile, ParamsFile

if TYPE_CHECKING:
    from rankwise.records.corpora import CorpusManifest
    from rankwise.records.model import ModelManifest

log = logging.getLogger("rankwise.sample")


def command(
    params: ParamsFile,
    model: ModelFile,
    corpora: Annotated[Path, typer.Option(help="Manifest of the texts.")],
    out: OutFile,
    exclude: Annotated[Path | None, typer.Option(help="Windows that must not be drawn.")] = None,
) -> None:
    """Draw the token windows of one role from its corpus."""
    import torch

    from rankwise.artifacts.tokens import Tokens
    from rankwise.inputs.sampling import draw_windows
    from rankwise.params.sample import Sample
    from rankwise.params.section import read_section
    from rankwise.records.corpora import CorporaManifest
    from rankwise.records.model import ModelManifest

    asked = read_section(params, Sample)
    role = params.stem.removeprefix("sample.")
    corpus = CorporaManifest.load(corpora).corpora[asked.corpus]
    taken = Tokens.load(exclude) if exclude is not None else None
    if taken is not None and taken.corpus_sha256 != corpus.sha256:
        taken = None
    stream = torch.tensor(_token_stream(ModelManifest.load(model), corpus), dtype=torch.int32)
    ids, starts = draw_windows(
        stream, asked.length, asked.sequences, asked.seed, taken, f"sample.{role}"
    )
    Tokens(ids, starts, role, asked.corpus, corpus.sha256, asked.seed).save(out)
    log.info("%s: %d windows of %d tokens of %s", role, *ids.shape, asked.corpus)


def _token_stream(model: "ModelManifest", corpus: "CorpusManifest") -> list[int]:
    """Return the whole text as token ids, without special tokens (no BOS at window starts)."""
    from rankwise.inputs.sources import check_file, check_files, model_folder, text_file
    from rankwise.inputs.texts import read_text
    from rankwise.inputs.tokenizer import read_tokenizer

    folder = model_folder(model.source, model.revision)
    tokenizers = [file for file in model.files if not file.path.endswith(".safetensors")]
    check_files(folder, tokenizers, "prepare.model")
    tokenizer = read_tokenizer(folder)
    path = text_file(corpus.source, corpus.revision, corpus.file)
    check_file(path, corpus.sha256, corpus.bytes, "prepare.corpora")
    text = read_text(path, corpus.field, corpus.characters)
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
