"""Where ratings are kept: on a disk of the machine, or acknowledged by the Hub."""

from pathlib import Path

import pytest

from hub_trainer.space.durability import file_system_of, is_networked, ratings_place

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


def _mounts(*lines: str) -> str:
    return "\n".join([ROOT, *lines])


def _mount(place: Path | str, kind: str) -> str:
    return f"40 22 0:50 / {str(place).replace(' ', chr(92) + '040')} rw - {kind} source rw"


@pytest.mark.parametrize(
    ("kind", "durability"),
    [
        ("ext4", "disk"),
        ("xfs", "disk"),
        ("overlay", "disk"),
        ("tmpfs", "disk"),
        ("fuseblk", "disk"),
        ("fuse", "hub"),
        ("fuse.hf-mount", "hub"),
        ("fuse.s3fs", "hub"),
        ("fuse.gcsfuse", "hub"),
        ("nfs", "hub"),
        ("nfs4", "hub"),
        ("cifs", "hub"),
        ("smb3", "hub"),
        ("9p", "hub"),
        ("virtiofs", "hub"),
        ("ceph", "hub"),
        ("lustre", "hub"),
    ],
)
def test_place_when_mounted_from_elsewhere_is_not_for_sqlite(
    tmp_path: Path, kind: str, durability: str
) -> None:
    wanted = tmp_path / "a bucket" / "ratings"
    mounts = _mounts(_mount(tmp_path / "a bucket", kind))
    place = ratings_place({"RATINGS_DIR": str(wanted)}, mounts)
    assert place.durability == durability
    assert (place.folder == wanted) == (durability == "disk")
    assert not is_networked(file_system_of(place.folder, mounts))
    assert kind in place.reason


def test_file_system_when_mounts_nest_or_cover_each_other_is_the_one_on_top() -> None:
    mounts = _mounts(_mount("/data", "nfs"), _mount("/data/disk", "ext4"), _mount("/mnt", "ext4"))
    mounts += "\n" + _mount("/mnt", "fuse.rclone")
    kinds = {p: file_system_of(Path(p), mounts) for p in ("/data/x", "/data/disk/x", "/mnt/y")}
    assert kinds == {"/data/x": "nfs", "/data/disk/x": "ext4", "/mnt/y": "fuse.rclone"}
    assert file_system_of(Path("/database"), mounts) == "ext4"
    assert file_system_of(Path("/x"), "nonsense\n1 2 3\n - \n") is None


def test_file_system_when_reached_by_a_link_is_that_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "bucket")
    mounts = _mounts(_mount(tmp_path / "bucket", "fuse.hf-mount"))
    assert ratings_place({"RATINGS_DIR": str(tmp_path / "link")}, mounts).durability == "hub"
    inside = {"RATINGS_DIR": str(tmp_path / "link" / "ratings")}
    assert ratings_place(inside, mounts).durability == "hub"


def test_place_when_the_disk_of_a_space_is_lost_at_a_restart_is_safe_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert ratings_place({"SPACE_ID": "org/space"}, ROOT).durability == "hub"
    assert ratings_place({}, ROOT).durability == "disk"
    named = ratings_place({"SPACE_ID": "org/space", "RATINGS_DIR": str(tmp_path)}, ROOT)
    assert named.durability == "disk"


def test_place_when_the_system_has_no_mountinfo_is_taken_for_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub_trainer.space.durability.MOUNTINFO", tmp_path / "none")
    assert ratings_place({"RATINGS_DIR": str(tmp_path)}).durability == "disk"
