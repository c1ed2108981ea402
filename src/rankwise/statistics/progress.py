"""Progress of a streamed pass over a model: the files from which it can resume."""

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
from rankwise.params.compute import Compute
from rankwise.params.section import Section
from rankwise.records.base import Record
from rankwise.records.model import ModelManifest
from rankwise.statistics.hidden_states import Reader, Writer

log = logging.getLogger("rankwise.progress")


class PassState(Record):
    """The saved state of an unfinished pass."""

    schema_name: ClassVar[str] = "rankwise/pass@1"
    fingerprint: str
    done: int = Field(ge=0)
    digests: dict[str, str]
    """File of hidden states or gradients → hash of its contents."""


class Progress:
    """Progress of a pass: a folder with the finished statistics, and the step to resume at.

    Files of a pass with another ``fingerprint`` are deleted. The pass stops with an error where a file
    of hidden states or gradients does not have the hash that it was written with.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.done = 0
        """Finished steps: layer groups; a backward pass counts each group twice [-]."""
        self._digests: dict[str, str] = {}
        path = folder / "state.json"
        state = PassState.load(path) if path.exists() else None
        if state is not None and state.fingerprint == fingerprint:
            self.done, self._digests = state.done, dict(state.digests)
            log.info("resuming after step %d of an unfinished pass in %s", self.done, folder)
            return
        if state is not None:
            log.warning(
                "%s holds an unfinished pass over another model, text, section or version: it is deleted, "
                "the pass starts again",
                folder,
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def statistics(self, group: int, part: int | None = None) -> Path:
        """Return the file of a group's statistics, or of those of one pool ``part``."""
        name = f"group_{group}" if part is None else f"part_{part}_group_{group}"
        return self.folder / f"{name}.safetensors"

    def states(self, group: int) -> Path:
        """Return the file of the hidden states before a group."""
        return self.folder / f"states_{group}.bin"

    def gradients(self, group: int) -> Path:
        """Return the file of the loss's gradients at the hidden states before a group."""
        return self.folder / f"gradients_{group}.bin"

    def finish(self, *streams: Reader | Writer, gone: Sequence[Path] = ()) -> None:
        """Record that one more step is finished, with its ``streams``, and delete the files ``gone``.

        Raises RankwiseError where a file was read that differs from what was written.
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
    manifest: ModelManifest, ids: Tensor, params: Section, compute: Compute, *facts: Any
) -> str:
    """Return the hash of everything that a pass depends on."""
    tokens = hashlib.sha256(ids.contiguous().numpy().data).hexdigest()
    hashes = {file.path: file.sha256 for file in manifest.files}
    sections = [section.model_dump(mode="json") for section in (params, compute)]
    value = [hashes, manifest.dtype, tokens, list(ids.shape), sections, __version__, *facts]
    return hashlib.sha256(to_json(value).encode()).hexdigest()
