"""Records refuse what another version wrote."""

import pytest

from rankwise.errors import RankwiseError
from rankwise.files.atomic import write_json
from rankwise.files.checksummed import read_json, with_checksum
from rankwise.records.model import ModelManifest
from rankwise.records.speed import SpeedRecord


def test_records_refuse_another_schema_and_unknown_keys(tmp_path):
    path = tmp_path / "speed.json"
    SpeedRecord(
        run="a", points=[], dense=[], length=1, new_tokens=1, repeats=3, device="cpu", threads=1,
    ).save(path)  # fmt: skip
    assert SpeedRecord.load(path).run == "a"
    with pytest.raises(
        RankwiseError, match="expected schema rankwise/model@2, found rankwise/speed@2"
    ):
        ModelManifest.load(path)
    write_json(path, with_checksum(read_json(path) | {"rum": "a"}))
    with pytest.raises(RankwiseError, match=r"speed.json: rum: Extra"):
        SpeedRecord.load(path)
