"""Which file system a folder lies on, by lists as the kernel writes them."""

from pathlib import Path

import pytest

from index.machine.mounts import mount_of, network_warning

LIST = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:40 / /srv rw,relatime shared:1 - xfs /dev/sdb1 rw
31 30 0:41 / /srv/vehicles rw,relatime shared:2 master:1 - nfs4 store:/export/vehicles rw,vers=4.2
32 31 0:42 / /srv/vehicles/local rw - ext4 /dev/sdc1 rw
33 27 0:43 / /mnt/two\\040words\\134and\\011more rw - cifs //server/a\\040share rw
34 27 0:44 / /home/me/far rw,nosuid - fuse.sshfs me@host:/home rw
35 27 0:45 / /mnt/hidden rw - ceph 10.0.0.1:/ rw
36 27 0:46 / /mnt rw - tmpfs tmpfs rw
37 36 0:47 / /mnt/seen rw - 9p share rw
38 27 0:48 / /stack rw - nfs old:/a rw
39 38 0:49 / /stack rw - ext4 /dev/sdd1 rw
40 27 0:50 / /disk rw - ext4 /dev/sde1 rw
41 40 0:51 / /disk rw - lustre mds@tcp:/scratch rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"), ("/var/lib", "/", "ext4"), ("/srv", "/srv", "xfs"), ("/srv/other", "/srv", "xfs"),
        ("/srv/vehicles", "/srv/vehicles", "nfs4"), ("/srv/vehicles/a/b", "/srv/vehicles", "nfs4"),
        ("/srv/vehicles2", "/srv", "xfs"), ("/srv/vehicles/local/a", "/srv/vehicles/local", "ext4"),
        ("/home/me/far/x", "/home/me/far", "fuse.sshfs"), ("/home/me", "/", "ext4"),
        ("/mnt/seen/x", "/mnt/seen", "9p"), ("/stack/x", "/stack", "ext4"), ("/disk/x", "/disk", "lustre"),
    ],
)  # fmt: skip
def test_the_deepest_mount_that_is_seen(path: str, point: str, kind: str) -> None:
    mount = mount_of(Path(path), LIST)
    assert mount is not None
    assert (mount.point, mount.type) == (point, kind)


def test_a_mount_below_a_later_one_is_not_seen() -> None:
    """/mnt was mounted over /mnt/hidden: a path there is on /mnt now."""
    mount = mount_of(Path("/mnt/hidden/data"), LIST)
    assert mount is not None
    assert (mount.point, mount.type, mount.network) == ("/mnt", "tmpfs", False)


def test_spaces_and_other_signs_are_written_in_octal() -> None:
    text = "\n".join(line for line in LIST.splitlines() if " /mnt " not in line)
    mount = mount_of(Path("/mnt/two words\\and\tmore/data"), text)
    assert mount is not None
    assert (mount.type, mount.source) == ("cifs", "//server/a share")
    letters = "27 1 0:1 / / rw - ext4 a rw\n28 27 0:2 / /g\\303\\244rten\\040Ω rw - nfs b rw"
    for written in (letters, letters.replace("\\303\\244", "ä")):
        found = mount_of(Path("/gärten Ω/x"), written)
        assert found is not None
        assert found.type == "nfs"


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "27 1 0:1 / /only rw - nfs a rw", LIST.replace(" - ", " ")])
def test_a_list_that_tells_nothing(text: str) -> None:
    assert mount_of(Path("/srv"), text) is None
    assert network_warning(Path("/srv"), text) is None


def test_the_root_of_a_container(tmp_path: Path) -> None:
    """Its parent is not in the list, or is itself."""
    for parent in ("520", "663"):
        mount = mount_of(
            tmp_path, f"663 {parent} 0:90 / / rw - nfs server:/root rw\n664 663 0:91 / /proc rw - proc proc rw"
        )
        assert mount is not None
        assert mount.type == "nfs"


def test_the_warning_names_the_mount_the_type_and_what_to_do() -> None:
    warning = network_warning(Path("/srv/vehicles/yet/to/come"), LIST)
    assert warning is not None
    for word in ("/srv/vehicles,", "nfs4 of store:/export/vehicles", "a disk of this machine", "vehicle-index backup"):
        assert word in warning
    assert "\n" not in warning
    assert network_warning(Path("/srv/other"), LIST) is None


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/vehicles")
    assert network_warning(tmp_path / "link/data", LIST) is not None


def test_of_this_machine() -> None:
    network_warning(Path("/proc"))
    mount = mount_of(Path("/proc"), Path("/proc/self/mountinfo").read_text())
    assert mount is not None
    assert mount.type == "proc"
