"""Limits of processor time, in folders that look like those of Linux."""

from pathlib import Path

import pytest

from fashioncnn.cgroups import granted_cores

FIRST = "29 25 0:26 {root} {mount} rw,relatime shared:9 - cgroup cgroup rw,{controllers}\n"
SECOND = "30 25 0:27 {root} {mount} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER = "22 1 8:1 / / rw,relatime - ext4 /dev/root rw,errors=remount-ro\n"


@pytest.fixture
def process(tmp_path):
    """Return a function that writes /proc/self and the files of groups, and returns the former."""

    def write(groups, mounts, files):
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / "cgroup").write_text(groups)
        (proc / "mountinfo").write_text(OTHER + mounts)
        for name, content in files.items():
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return proc

    return write


def second(tmp_path, root="/"):
    return SECOND.format(root=root, mount=tmp_path / "sys")


def first(tmp_path, controllers, root="/"):
    return FIRST.format(root=root, mount=tmp_path / "sys", controllers=controllers)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 1.5), ("5000 10000", 0.5), ("max 100000", None)],
)
def test_limit_of_a_container(process, tmp_path, quota, cores):
    """Which sees its group as the root."""
    assert granted_cores(process("0::/\n", second(tmp_path), {"cpu.max": quota})) == cores


@pytest.mark.parametrize(
    ("own", "above", "cores"),
    [
        ("max 100000", "300000 100000", 3),
        ("100000 100000", "300000 100000", 1),
        ("400000 100000", "300000 100000", 3),
        ("max 100000", "max 100000", None),
    ],
)
def test_lowest_limit_of_a_group_and_those_above_counts(process, tmp_path, own, above, cores):
    files = {"user.slice/job/cpu.max": own, "user.slice/cpu.max": above}
    assert granted_cores(process("0::/user.slice/job\n", second(tmp_path), files)) == cores


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize(("quota", "cores"), [("250000", 2.5), ("-1", None)])
def test_limit_of_version_1(process, tmp_path, controllers, quota, cores):
    files = {"job/cpu.cfs_quota_us": quota, "job/cpu.cfs_period_us": "100000"}
    groups = f"5:memory:/other\n4:{controllers}:/job\n"
    assert granted_cores(process(groups, first(tmp_path, controllers), files)) == cores


def test_group_outside_of_its_mount_is_that_of_the_container(process, tmp_path):
    """Version 1 in a container without a namespace: the mount is the container's group."""
    files = {"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"}
    mounts = first(tmp_path, "cpu", root="/docker/5e1f")
    assert granted_cores(process("4:cpu:/docker/5e1f\n", mounts, files)) == 2


@pytest.mark.parametrize("group", ["/../above", "/elsewhere"])
def test_invisible_group_is_read_at_its_mount(process, tmp_path, group):
    mounts = second(tmp_path, root="/docker/5e1f" if group == "/elsewhere" else "/")
    assert granted_cores(process(f"0::{group}\n", mounts, {"cpu.max": "100000 100000"})) == 1


def test_both_versions_may_be_mounted(process, tmp_path):
    """The controller belongs to one of them."""
    files = {"v1/cpu.cfs_quota_us": "300000", "v1/cpu.cfs_period_us": "100000"}
    mounts = "".join(
        line.format(root="/", mount=tmp_path / "sys" / name, controllers="cpu,cpuacct")
        for line, name in ((FIRST, "v1"), (SECOND, "unified"))
    )
    assert granted_cores(process("4:cpu,cpuacct:/\n0::/\n", mounts, files)) == 3


def test_names_with_spaces_and_colons_are_read(process, tmp_path):
    mounts = SECOND.format(root="/", mount=f"{tmp_path}/sys/with\\040space")
    files = {"with space/a:b/cpu.max": "100000 100000"}
    assert granted_cores(process("0::/a:b\n", mounts, files)) == 1


@pytest.mark.parametrize("content", ["", "100000", "many 100000", "100000 0", "-1 100000"])
def test_unknown_limit_is_none(process, tmp_path, content):
    assert granted_cores(process("0::/\n", second(tmp_path), {"cpu.max": content})) is None


@pytest.mark.parametrize(("groups", "mounts"), [("", ""), ("x", "x"), ("0::/", "a b - cgroup2")])
def test_system_without_groups_has_no_limit(process, groups, mounts):
    assert granted_cores(process(groups, mounts, {})) is None


def test_system_without_proc_has_no_limit():
    assert granted_cores(Path("/nowhere")) is None
