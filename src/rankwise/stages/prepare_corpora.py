"""Stage prepare_corpora: find every text at its pinned revision and write down what it is."""

import logging

from rankwise.errors import RankwiseError
from rankwise.stages.options import OutFile, ParamsFile

log = logging.getLogger("rankwise.prepare")


def command(params: ParamsFile, out: OutFile) -> None:
    """Find every text and hash it; two names for the same bytes are refused."""
    from rankwise.files.checksummed import sha256
    from rankwise.inputs.sources import text_file
    from rankwise.params.prepare import Corpus
    from rankwise.params.section import read_object, validate
    from rankwise.records.corpora import CorporaManifest, CorpusManifest

    found: dict[str, CorpusManifest] = {}
    for name, given in read_object(params).items():
        asked = validate(Corpus, given, str(params), (name,))
        path = text_file(asked.source, asked.revision, asked.file, download=True)
        digest = sha256(path)
        for other, corpus in found.items():
            if corpus.sha256 == digest:
                raise RankwiseError(
                    f"prepare.corpora: '{name}' and '{other}' are the same bytes ({path}); "
                    "roles that share a text name one corpus, test text is another text"
                )
        found[name] = CorpusManifest(**asked.model_dump(), sha256=digest, bytes=path.stat().st_size)
        log.info("corpus %s: %s, %d bytes", name, asked.source, path.stat().st_size)
    CorporaManifest(corpora=found).save(out)
