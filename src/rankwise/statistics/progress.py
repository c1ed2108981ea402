"""How far a pass over a model has come that is read group by group: what it keeps, so that it can go on."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from rankwise import __version__
from rankwise.errors import RankwiseError
from rankwise.files.atomic import to_json
from rankwise.files.checksummed import repair_hint
from rankwise.params.section import Section
from rankwise.params.stages import Compute
from rankwise.records.base import Record
from rankwise.records.inputs import ModelManifest
from rankwise.statistics.hidden_states import Reader, Writer

log = logging.getLogger("rankwise.progress")


class PassState(Record):
    """How far an unfinished pass has come."""

    schema_name: ClassVar[str] = "rankwise/pass@1"
    fingerprint: str
    done: int = Field(ge=0)
    digests: dict[str, str]
    """File of hidden states or gradients → hash of all that it holds."""


class Progress:
    """How far a pass has come: a folder with the statistics that are finished, and where to go on.

    What was left by a pass over anything else than ``fingerprint`` says is thrown away. Hidden states and
    gradients have the hashes that they were written with, or the pass does not go on.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.done = 0
        """Steps that are finished: groups, of a backward pass each twice."""
        self._digests: dict[str, str] = {}
        path = folder / "state.json"
        state = PassState.load(path) if path.exists() else None
        if state is not None and state.fingerprint == fingerprint:
            self.done, self._digests = state.done, dict(state.digests)
            log.info("going on behind step %d of an unfinished pass in %s", self.done, folder)
            return
        if state is not None:
            log.warning(
                "%s holds an unfinished pass over another model, text, section or version: it is thrown away, "
                "the pass begins anew",
                folder,
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def statistics(self, group: int, part: int | None = None) -> Path:
        """Return the file of a group's statistics, or of one of its pools' alone."""
        name = f"group_{group}" if part is None else f"part_{part}_group_{group}"
        return self.folder / f"{name}.safetensors"

    def states(self, group: int) -> Path:
        """Return the file of the hidden states in front of a group."""
        return self.folder / f"states_{group}.bin"

    def gradients(self, group: int) -> Path:
        """Return the file of the loss's gradients at the hidden states in front of a group."""
        return self.folder / f"gradients_{group}.bin"

    def finish(self, *streams: Reader | Writer, gone: Sequence[Path] = ()) -> None:
        """Record that one more step is finished, with these files, and remove those of no more use.

        Raises RankwiseError where a file that was read is not as it was written.
        """
        for stream in streams:
            name, digest = stream.path.name, stream.digest
            if isinstance(stream, Writer) and digest is not None:
                self._digests[name] = digest
            elif digest is not None and digest != self._digests[name]:
                raise RankwiseError(
                    f"{stream.path} is not as it was written: XXH3 {digest} found, {self._digests[name]} expected; "
                    f"{repair_hint(self.folder)}"
                )
        self.done += 1
        state = PassState(fingerprint=self.fingerprint, done=self.done, digests=self._digests)
        state.save(self.folder / "state.json")
        for path in gone:
            path.unlink(missing_ok=True)


def hash_pass_inputs(
    manifest: ModelManifest, ids: Tensor, asked: Section, where: Compute, *facts: Any
) -> str:
    """Return the hash of all that a pass depends on."""
    tokens = hashlib.sha256(ids.contiguous().numpy().data).hexdigest()
    hashes = {file.path: file.sha256 for file in manifest.files}
    sections = [section.model_dump(mode="json") for section in (asked, where)]
    value = [hashes, manifest.dtype, tokens, list(ids.shape), sections, __version__, *facts]
    return hashlib.sha256(to_json(value).encode()).hexdigest()
