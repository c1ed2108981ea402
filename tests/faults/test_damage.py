"""Of a damaged artifact nothing is used: a sentence names file, expected, found and what repairs it."""

import json
import random

import pytest

from rankwise.errors import RankwiseError
from rankwise.files.checksummed import read_checksummed_lines, read_json, to_checksummed_lines
from tools.faults.examples import RECORDS, example
from tools.faults.kinds import flipped, kinds, same

KINDS = {kind.name: kind for kind in kinds()}
BITS = 400
"""Bits flipped of every kind, one at a time."""


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_a_flipped_bit_is_found(kind, tmp_path):
    """Anywhere in the file: in numbers, names, shapes, lengths, the digests themselves."""
    path = tmp_path / "artifact"
    kind.write(path)
    whole, meant = path.read_bytes(), kind.read(path)
    bits = random.Random(0).sample(range(8 * len(whole)), min(BITS, 8 * len(whole)))
    for changed in flipped(whole, iter(bits)):
        path.write_bytes(changed)
        try:
            found = kind.read(path)
        except RankwiseError as error:
            assert str(path) in str(error)
            assert f"rm -r {path} && rankwise run" in str(error)
        else:
            assert same(found, meant)


def test_a_cut_or_emptied_file_is_found(kind, tmp_path):
    path = tmp_path / "artifact"
    kind.write(path)
    whole = path.read_bytes()
    for length in {0, 1, 8, len(whole) // 2, len(whole) - 2}:  # the last byte may be a line's end
        path.write_bytes(whole[:length])
        with pytest.raises(RankwiseError, match=r"artifact.* rankwise run"):
            kind.read(path)
    path.unlink()
    with pytest.raises(RankwiseError, match="artifact does not exist; make it with: rankwise run"):
        kind.read(path)


def test_another_kind_s_file_is_found(kind, tmp_path):
    for other in KINDS.values():
        other.write(tmp_path / "artifact")
        if {kind.name, other.name} in ({"factors", "spectra"}, {kind.name}):
            continue
        with pytest.raises(RankwiseError, match="artifact"):
            kind.read(tmp_path / "artifact")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"a": NaN', "\ud800"])
def test_json_beyond_sense_is_refused(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RankwiseError, match="is not JSON"):
        read_json(path)


def test_what_was_expected_of_a_trace_and_what_was_found(tmp_path):
    """Expected is what was written, found is what is there: in whichever line the damage lies."""
    path, rows = tmp_path / "trace.jsonl", [{"trial": n} for n in range(3)]
    first, second, third, closing = to_checksummed_lines(rows).splitlines(keepends=True)
    written, without = (
        json.loads(text.splitlines()[-1])["sha256"]
        for text in (closing, to_checksummed_lines(rows[:2]))
    )
    for text, expected, found in (
        (first + second + closing, f"3 rows of SHA-256 {written}", f"2 rows of SHA-256 {without}"),
        (first + second + third, "a last line with number and SHA-256 of the rows", "no such line"),
        ("", "a last line with number and SHA-256 of the rows", "no such line"),
    ):
        path.write_text(text)
        with pytest.raises(RankwiseError) as error:
            read_checksummed_lines(path)
        assert f"expected {expected}, found {found}; make it again" in str(error.value)


def test_every_kind_of_record_is_read_as_it_was_written(tmp_path):
    assert len(RECORDS) > 10
    for kind in RECORDS:
        example(kind).save(tmp_path / "a.json")
        assert kind.load(tmp_path / "a.json") == example(kind)
