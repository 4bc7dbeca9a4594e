"""Where a store is: beside the project's git, or in the user's data folder, and never where it can do harm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dstui_store import NotAStoreError, Store, StoreError, file_system_type, locate, machine_id, private_folder
from dstui_store import layout as layout_module
from dstui_store.layout import check_private, file_system_in
from tests.store.ended_runs import committed_run
from tests.store.git_projects import commit_all, git, write_files

UID = str(os.getuid())


def data_home() -> Path:
    return Path(os.environ["XDG_DATA_HOME"]) / "dstui"


def test_beside_a_repository_the_store_is_in_its_git_dir(project: Path) -> None:
    found = locate(project)
    assert found.project == project
    assert found.root == found.local == project / ".git" / "ds" / UID
    assert found.git_dir == found.common_dir == project / ".git"


def test_a_folder_inside_the_project_has_the_project_s_store(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "src" / "deep"
    inner.mkdir(parents=True)
    assert locate(inner) == locate(project)
    monkeypatch.chdir(inner)
    assert locate() == locate(project)


def test_linked_worktrees_share_one_store_and_have_a_snapshot_each(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "worktree"
    git(project, "worktree", "add", "-q", "-b", "side", str(other))
    write_files(other, {"only_here.py": "side = 1\n"})
    here, there = locate(project), locate(other)
    assert here.root == there.root
    assert here.index == there.index
    assert (here.project, there.project) == (project, other)
    with Store.open(project, create=True) as first, Store.open(other) as second:
        snapshots = first.snapshot(), second.snapshot()
        assert [snapshot.branch for snapshot in snapshots] == ["main", "side"]
        assert [snapshot.added for snapshot in snapshots] == [(), ("only_here.py",)]
        run = committed_run(second, snapshots[1])
        assert [record.id for record in first.records()] == [run.id]


def test_a_bare_repository_holds_no_store_and_no_snapshot_is_made_of_it(tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    before = sorted(bare.rglob("*"))
    found = locate(bare)
    assert found.git_dir is None
    assert found.root.parent == data_home()
    with Store.open(bare, create=True) as store:
        assert store.snapshot().tree is None
    assert sorted(bare.rglob("*")) == before


def test_without_git_the_store_is_in_the_data_folder_named_after_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "my project, (old)"
    folder.mkdir()
    found = locate(folder)
    assert found.root.parent == data_home()
    assert found.root.name.startswith("my_project___old_-")
    assert len(found.root.name) == len("my_project___old_-") + 8
    assert found.git_dir is None
    same_name = tmp_path / "elsewhere" / folder.name
    same_name.mkdir(parents=True)
    assert locate(same_name).root != found.root


def test_without_the_variable_the_data_folder_is_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    assert locate(tmp_path).root.parent == Path(os.environ["HOME"]).resolve() / ".local" / "share" / "dstui"


def test_a_folder_reached_by_a_link_is_the_folder_itself(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)
    assert locate(tmp_path / "link") == locate(project)


def test_without_git_the_mark_makes_a_folder_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "marked" / "a" / "b"
    inner.mkdir(parents=True)
    assert locate(inner).project == inner
    (tmp_path / "marked" / "dstui.toml").touch()
    assert locate(inner).project == tmp_path / "marked"
    (inner.parent / "dstui.toml").touch()
    assert locate(inner).project == inner.parent


def test_with_git_the_mark_moves_nothing(project: Path) -> None:
    inner = project / "inner"
    inner.mkdir()
    (inner / "dstui.toml").touch()
    assert locate(inner).project == project


def test_what_is_no_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "absent"):
        with pytest.raises(StoreError, match="is not a folder"):
            locate(path)


@pytest.mark.parametrize(
    "content",
    ["", "gitdir: \n", "gitdir: /nowhere\n", "nonsense", "gitdir: .\n", "gitdir: a\0b\n", "gitdir: " + "x/" * 5000],
)
def test_a_broken_git_file_is_passed_over(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / ".git").write_text(content)
    assert locate(folder).git_dir is None


def test_a_folder_called_git_that_is_no_repository_is_passed_over(project: Path) -> None:
    inner = project / "inner"
    (inner / ".git").mkdir(parents=True)
    assert locate(inner).project == project


def test_a_submodule_has_a_store_of_its_own_in_its_git_dir(project: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    write_files(library, {"lib.py": "x\n"})
    git(library, "init", "-q")
    commit_all(library)
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    found = locate(project / "lib")
    assert found.project == project / "lib"
    assert found.git_dir == project / ".git" / "modules" / "lib"
    assert found.root == project / ".git" / "modules" / "lib" / "ds" / UID
    with Store.open(project / "lib", create=True) as store:
        assert store.snapshot().edited == ()


def test_home_is_no_project(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(os.environ["HOME"])
    (home / "secret.txt").write_text("mine")
    git(home, "init", "-q")
    with Store.open(home, create=True) as store:
        snapshot = store.snapshot()
        assert (snapshot.tree, snapshot.refused) == (None, "the project is your home folder")
        record = committed_run(store, snapshot)
        assert store.code_files(record.id) == {}
    monkeypatch.setenv("HOME", str(home.parent))
    assert locate(home).snapshot_refused is None


def test_the_root_folder_is_no_project() -> None:
    assert locate(Path("/")).snapshot_refused == "the project is the root folder"


def test_a_git_dir_that_may_not_be_written_moves_the_store_to_the_data_folder(
    project: Path, program: Callable[[str], str]
) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom dstui_store import locate\nprint(locate(Path(sys.argv[1])).root)"
    )
    # For root every folder is writable, so it gives that power away first.
    powerless = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    (project / ".git").chmod(0o555)
    try:
        done = subprocess.run(
            [*powerless, sys.executable, "-c", script, str(project)], capture_output=True, text=True, check=False
        )
    finally:
        (project / ".git").chmod(0o755)
    assert done.stdout.startswith(str(data_home() / "project-")), done.stderr


def test_a_git_dir_on_a_read_only_disk_moves_the_store_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access

    def as_on_a_read_only_disk(path: Path, mode: int) -> bool:
        return not (Path(path).is_relative_to(project / ".git") and mode & os.W_OK) and real(path, mode)

    monkeypatch.setattr(os, "access", as_on_a_read_only_disk)
    assert locate(project).root.parent == data_home()


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_everything_is_private_whatever_the_umask_is(project: Path, umask: int) -> None:
    write_files(project, {"new.py": "x\n"})
    git(project, "update-index", "--split-index")
    before = os.umask(umask)
    try:
        with Store.open(project, create=True) as store:
            record = committed_run(store, store.snapshot(), metrics={"loss": [1.0]})
            store.operate(record.id, "tag", tag="x")
            store.records()
            root = store.layout.root
            open_to_others = [path for path in [root, *root.rglob("*")] if path.lstat().st_mode & 0o077]
    finally:
        os.umask(before)
    assert open_to_others == []


def test_folders_made_on_the_way_are_private_too(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/c")]
    assert modes == [0o700, 0o700, 0o700]


def test_a_folder_open_to_others_is_closed_or_refused(tmp_path: Path) -> None:
    readable = tmp_path / "readable"
    readable.mkdir()
    readable.chmod(0o755)
    private_folder(readable)
    assert readable.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702, 0o777):
        writable = tmp_path / f"{mode:o}"
        writable.mkdir()
        writable.chmod(mode)
        with pytest.raises(NotAStoreError, match="can be changed by others") as caught:
            private_folder(writable)
        assert "chmod" in str(caught.value.hint)


def test_a_link_and_a_foreign_owner_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "goal").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "goal")
    with pytest.raises(NotAStoreError, match="is a link"):
        private_folder(tmp_path / "link")
    found = (tmp_path / "goal").lstat()
    monkeypatch.setattr(os, "getuid", lambda: found.st_uid + 1)
    with pytest.raises(NotAStoreError, match=f"belongs to uid {found.st_uid}, not to you"):
        check_private(tmp_path / "goal", found)


def test_a_path_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Cannot make"):
        private_folder(tmp_path / "file" / "folder")


MOUNTS = rb"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 22 0:35 / /home rw - nfs4 server:/home rw
41 40 0:36 / /home/with\040space rw - ext4 /dev/sdb rw
42 22 0:37 / /mnt/caf\303\251 rw - fuse.sshfs someone@host: rw
43 22 0:38 / /mnt/latin1-\351 rw shared:7 master:1 - vfat /dev/sdc rw
44 22 0:39 / /mnt/back\134slash rw - lustre x rw
45 22 0:40 / /mnt/t\011ab\012 rw - 9p x rw
46 22 0:41 /sub /home/bind rw - btrfs /dev/sdd rw
47 41 0:42 / /home/with\040space/deeper rw - xfs /dev/sde rw
48 22 0:43 / /homework rw - tmpfs x rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", "ext4"),
        (b"/etc/passwd", "ext4"),
        (b"/home/me", "nfs4"),
        (b"/homework/x", "tmpfs"),
        (b"/home/with space/x", "ext4"),
        (b"/home/with space/deeper/x", "xfs"),
        ("/mnt/caf\u00e9/x".encode(), "fuse.sshfs"),
        (b"/mnt/latin1-\xe9/x", "vfat"),
        (b"/mnt/back\\slash/x", "lustre"),
        (b"/mnt/t\tab\n/x", "9p"),
        (b"/home/bind", "btrfs"),
    ],
)
def test_the_deepest_mount_above_a_path_says_its_file_system(path: bytes, expected: str) -> None:
    assert file_system_in(MOUNTS, Path(os.fsdecode(path)), "9:99") == expected


def test_a_device_that_stands_in_the_list_says_it_at_once() -> None:
    assert file_system_in(MOUNTS, Path("/nowhere/near"), "0:35") == "nfs4"


@pytest.mark.parametrize("junk", [b"", b"\n", b"garbage", b"1 2 3 - ", b"22 1 254:1 / / rw - ", b"a b c d e - ext4"])
def test_an_odd_line_of_the_mount_list_is_passed_over(junk: bytes) -> None:
    assert file_system_in(junk + b"\n" + MOUNTS, Path("/home/me"), "9:99") == "nfs4"


def test_the_kernel_s_own_list_is_understood(tmp_path: Path) -> None:
    theirs = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    ours = file_system_type(tmp_path / "not" / "there")
    assert ours
    assert ours in theirs or theirs.strip() in {"ext2/ext3", "overlayfs", "tmpfs", "xfs", "btrfs", "zfs"}


@pytest.fixture
def network_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes every disk a network disk, and gives the folder that this machine's own files are in."""
    monkeypatch.setattr(layout_module, "file_system_type", lambda _: "nfs4")
    monkeypatch.setattr(layout_module, "MACHINE_FOLDER", tmp_path / "var" / "tmp")
    (tmp_path / "var" / "tmp").mkdir(parents=True)
    return tmp_path / "var" / "tmp" / f"dstui-{UID}"


def test_on_a_network_disk_locks_and_cache_are_on_this_machine(project: Path, network_disk: Path) -> None:
    found = locate(project)
    assert found.root == project / ".git" / "ds" / UID
    assert found.local.parent == network_disk
    assert {found.lock.parent, found.index.parent} == {found.local}
    assert found.alive("a" * 16) == found.local / "live" / ("a" * 16) / "alive"
    assert found.live == found.root / "live"
    with Store.open(project, create=True) as store:
        run = committed_run(store)
        assert [record.id for record in store.records()] == [run.id]
        assert store.live_runs() == []
    assert found.local.stat().st_mode & 0o777 == 0o700
    assert not (found.root / "index.sqlite").exists()
    assert list((found.local / "live").iterdir()) == []


@pytest.mark.parametrize("planted", ["open", "link"])
def test_a_folder_of_this_machine_that_others_planted_is_refused(
    project: Path, network_disk: Path, planted: str, tmp_path: Path
) -> None:
    if planted == "open":
        network_disk.mkdir()
        network_disk.chmod(0o777)
    else:
        (tmp_path / "theirs").mkdir()
        network_disk.symlink_to(tmp_path / "theirs")
    with pytest.raises(NotAStoreError), Store.open(project, create=True) as store:
        committed_run(store)


@pytest.mark.parametrize(
    "name", ["nfs", "nfs4", "cifs", "lustre", "gpfs", "beegfs", "ceph", "9p", "fuse.sshfs", "fuse"]
)
def test_network_file_systems_are_known_by_their_types(name: str) -> None:
    assert layout_module.NETWORK_FILE_SYSTEMS.fullmatch(name)


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "nfsd", "fusectl", ""])
def test_local_file_systems_are_not_mistaken_for_them(name: str) -> None:
    assert not layout_module.NETWORK_FILE_SYSTEMS.fullmatch(name)


def test_a_machine_has_one_id_and_a_container_may_be_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_id.cache_clear()
    own = machine_id()
    assert len(own) == 16
    assert int(own, 16) >= 0
    monkeypatch.setenv("DSTUI_MACHINE_ID", "container-7")
    machine_id.cache_clear()
    given = machine_id()
    machine_id.cache_clear()
    assert given != own
    assert len(given) == 16


def test_a_copied_clone_gets_a_writer_of_its_own(project: Path, tmp_path: Path) -> None:
    with Store.open(project, create=True) as store:
        first = committed_run(store)
    copy = tmp_path / "copy"
    shutil.copytree(project, copy, symlinks=True)
    with Store.open(copy) as store:
        second = committed_run(store)
        assert second.writer != first.writer
        assert {record.id for record in store.records()} == {first.id, second.id}
        assert second.number == 1
    with Store.open(project) as store:
        assert committed_run(store).writer == first.writer


def test_a_moved_clone_keeps_its_writer_and_its_numbers(project: Path, tmp_path: Path) -> None:
    with Store.open(project, create=True) as store:
        first = committed_run(store)
    moved = project.rename(tmp_path / "moved")
    with Store.open(moved) as store:
        second = committed_run(store)
    assert (second.writer, second.number) == (first.writer, 2)


def test_a_store_made_by_one_process_is_written_by_another_of_the_same_machine(project: Path) -> None:
    with Store.open(project, create=True) as store:
        first = committed_run(store)
    program = (
        "import sys\nfrom pathlib import Path\nfrom dstui_store import Store\n"
        "print(Store.open(Path(sys.argv[1])).writer())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(project)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == first.writer
