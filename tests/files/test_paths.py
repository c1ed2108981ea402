"""No path that a file holds leads out of the folder it belongs to."""

import pytest

from rankwise.errors import RankwiseError
from rankwise.evaluate.official import official_task
from rankwise.files.paths import resolve_inside
from rankwise.inputs.sources import check_files, text_file
from rankwise.records.base import FileHash

OUT = [
    "/etc/passwd", ".", "./", "../x", "a/../../x", "..", "a/..", "C:\\x", "C:x", "\\\\host\\x", "..\\x", "\\x",
    "a\0b", "a\nb", "nul", "CON.txt", "a/com1", "", "\ud800", None, 5, ["x"], "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("name", OUT)
def test_what_leads_out_is_refused(name, tmp_path):
    with pytest.raises(RankwiseError, match=r"file\.json: "):
        resolve_inside(tmp_path, name, "file.json")


@pytest.mark.parametrize("name", ["a", "a/b.txt", "ä ö", "a'b\"c", ".hidden", "console", "a..b"])
def test_what_stays_is_the_path(name, tmp_path):
    assert resolve_inside(tmp_path, name, "x") == tmp_path / name


def test_links_stay_too_but_for_the_hub_s_own(tmp_path):
    (tmp_path / "outside").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "round").symlink_to(root / "round")
    for name in ("link", "round"):
        with pytest.raises(RankwiseError, match=r"leads out|cannot be looked up"):
            resolve_inside(root, name, "x")
    snapshot, blobs = tmp_path / "models--a/snapshots/0", tmp_path / "models--a/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").touch()
    (snapshot / "config.json").symlink_to("../../blobs/1")
    assert resolve_inside(snapshot, "config.json", "x").is_file()
    (snapshot / "evil").symlink_to(tmp_path / "outside")
    with pytest.raises(RankwiseError, match="leads out"):
        resolve_inside(snapshot, "evil", "x")


def test_it_is_asked_wherever_a_file_names_a_file(tmp_path):
    (tmp_path / "x").touch()
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(RankwiseError, match="is not a path below"):
        check_files(root, [FileHash(path="../x", sha256=digest, bytes=0)], "prepare.model")
    with pytest.raises(RankwiseError, match="is not a path below"):
        text_file("embedded/../../../x", None, None)
    for name in ("lm_eval/tasks/../api/model.py", "lm_eval/tasks/a\0b", ["x"]):
        with pytest.raises(RankwiseError, match="must name a task file"):
            official_task(name, tmp_path / "t.yaml")
