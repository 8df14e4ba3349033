"""All or nothing: a failure or a kill at any file operation leaves the old tree or the new one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_installer.errors import ApplyError, ConflictError
from clip_installer.install.disk.disk import STATE_VARIABLE
from clip_installer.install.plan.planning import plan_removal
from clip_installer.install.transaction.apply import applied, locked, was_interrupted
from clip_installer.server.config import ServerConfig
from clip_udfs.bundle import Bundle
from clip_udfs.functions import FUNCTIONS
from tests.server_trees import make_bundle, make_config, make_plan, make_target, snapshot

_WRITES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.utime"}
_KILLED, _FAILED, _DONE = 9, 1, 0


def install(directory: Path, bundle: Bundle) -> None:
    with locked(ServerConfig.read(directory)), applied(make_plan(directory, bundle)):
        pass


def remove(directory: Path) -> None:
    config = ServerConfig.read(directory)
    with locked(config), applied(plan_removal(make_target(directory), [""])):
        pass


class Injection:
    """Audit hook that counts the changes, of absolute names those below ``root``, and breaks one by its number."""

    def __init__(self, root: Path, number: int, break_it: Callable[[], None]) -> None:
        self._root, self._number, self._break = str(root), number, break_it
        self.count = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event in _WRITES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_WRONLY)
        # The installer works with handles of directories and names in them, and with descriptors of files.
        name = str(arguments[0])
        if writes and (not name.startswith("/") or name.startswith(self._root)):
            self.count += 1
            if self.count == self._number:
                self._break()


def in_child(act: Callable[[], None], root: Path, number: int, break_it: Callable[[], None]) -> int:
    """Run ``act`` in a forked process with its change ``number`` broken; the exit status."""
    child = os.fork()
    if child == 0:
        injection = Injection(root, number, break_it)
        sys.addaudithook(injection)
        status = _FAILED
        try:
            act()
            status = _DONE
        except ApplyError as error:
            if "everything is as it was" not in str(error) and "next run" not in str(error):
                status = 77
        finally:
            os._exit(status if injection.count >= number or status == 77 else 42)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed() -> None:
    os._exit(_KILLED)


@pytest.fixture
def change(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Callable[[], None]]:
    """A tree in its old state, with the installer's records in it, and what brings it to the new one."""
    for name in list(FUNCTIONS)[3:]:  # more functions are more operations of the same kinds
        monkeypatch.delitem(FUNCTIONS, name)
    (tmp_path / "server" / "lib").mkdir(parents=True)
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "server" / "lib"))
    directory = make_config(tmp_path / "server")
    old, new = make_bundle(tmp_path / "old", "one", b"old"), make_bundle(tmp_path / "new", "two", b"new")
    if request.param == "install":
        return directory, lambda: install(directory, new)
    install(directory, old)
    if request.param == "upgrade":
        return directory, lambda: install(directory, new)
    return directory, lambda: remove(directory)


@pytest.mark.parametrize(
    ("change", "break_it"),
    [("upgrade", disk_full), ("install", killed), ("upgrade", killed), ("remove", killed)],
    indirect=["change"],
)
def test_broken_at_every_operation(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[Path, Callable[[], None]],
    break_it: Callable[[], None],
) -> None:
    directory, act = change
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # nobody pulls the plug here, and it is slow
    server = tmp_path / "server"
    shutil.copytree(server, tmp_path / "kept", symlinks=True)
    old = snapshot(server)
    act()
    new = snapshot(server)
    assert new != old
    seen = set()
    for number in range(1, 500):
        shutil.rmtree(server)
        shutil.copytree(tmp_path / "kept", server, symlinks=True)
        status = in_child(act, server, number, break_it)
        if status == 42:
            break
        if break_it is disk_full:
            assert status in (_FAILED, _DONE), f"operation {number}: unexpected status {status}"
            if status == _DONE:
                assert snapshot(server) == new
        else:
            assert status == _KILLED
            # Whatever is in its place is whole: the old content or the new.
            for path, entry in snapshot(server).items():
                if ".clip-udfs-" not in path and not path.endswith("journal.json"):
                    assert entry in (old.get(path), new.get(path)), f"operation {number}: {path}"
        with locked(ServerConfig.read(directory)):
            after = snapshot(server)
        assert after in (old, new), f"operation {number}: neither the old tree nor the new one"
        seen.add("old" if after == old else "new")
        if after == old and number % 5 == 1:
            act()
            assert snapshot(server) == new, f"operation {number}: the next run does not succeed"
    else:
        pytest.fail("more operations than expected")
    assert number > 40
    assert seen == {"old", "new"}


def test_a_failure_is_reported_and_undone(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    before = snapshot(tmp_path / "server")
    plan = make_plan(directory, bundle)
    with pytest.raises(ApplyError, match=r"^the smoke call is wrong; everything is as it was before$"), applied(plan):
        raise ApplyError("the smoke call is wrong")
    assert snapshot(tmp_path / "server") == before


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    plan = make_plan(directory, bundle)
    (directory / "encode_text_function.xml").write_text("somebody's")
    before = snapshot(tmp_path / "server")
    with pytest.raises(ApplyError, match=r"encode_text_function\.xml: appeared while"), applied(plan):
        pass
    assert snapshot(tmp_path / "server") == before


def test_a_second_run_touches_nothing(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    install(directory, bundle)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "server").rglob("*")}
    install(directory, bundle)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "server").rglob("*")} == times


def test_two_installers_at_once(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server")
    handle = os.open(directory, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ConflictError, match="another install-udfs is running"), locked(ServerConfig.read(directory)):
        pass
    os.close(handle)
    with locked(ServerConfig.read(directory)) as recovered:
        assert recovered is None


def test_another_servers_journal_is_left_alone(tmp_path: Path) -> None:
    directory, other = make_config(tmp_path / "server"), make_config(tmp_path / "server" / "var")
    bundle = make_bundle(tmp_path / "bundle")
    status = in_child(lambda: install(other, bundle), tmp_path / "server/var/etc", 20, killed)
    assert status == _KILLED
    assert was_interrupted(ServerConfig.read(other))
    assert not was_interrupted(ServerConfig.read(directory))
    with locked(ServerConfig.read(other)) as recovered:
        assert recovered == "rolled back an install that was interrupted"


def test_names_beside_the_target_are_hidden_from_the_server(tmp_path: Path) -> None:
    directory = make_config(
        tmp_path / "server",
        "<clickhouse><path>@/var</path><user_defined_executable_functions_config>functions/*"
        "</user_defined_executable_functions_config></clickhouse>",
        functions__theirs="<functions/>",
    )
    bundle, config = make_bundle(tmp_path / "bundle"), ServerConfig.read(directory)
    seen: list[set[str]] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and not seen_enough:
            seen.append({path.name for path in config.function_files()})

    seen_enough: list[bool] = []
    sys.addaudithook(watch)
    install(directory, bundle)
    seen_enough.append(True)
    assert seen
    for names in seen:
        assert {name for name in names if not name.endswith("_function.xml")} == {"theirs"}


def test_undoing_leaves_a_file_that_appeared_meanwhile(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    plan = make_plan(directory, bundle)
    (directory / "try_encode_text_function.xml").write_text("somebody's")
    (bundle.directory / "tokenizer.json").unlink()  # so that already the staging fails
    before = snapshot(tmp_path / "server")
    with pytest.raises(ApplyError, match="No such file"), applied(plan):
        pass
    assert snapshot(tmp_path / "server") == before
