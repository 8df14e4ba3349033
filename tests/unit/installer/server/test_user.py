"""Which user the server runs as: given, recorded, the owner of its data, or asked for; never root by default."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from clip_installer.errors import ApplyError, ConfigurationError
from clip_installer.server import user as module
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser, server_user
from tests.server_trees import make_config
from tests.users import CLICKHOUSE, as_root

CLICKHOUSE_ENTRY = pwd.struct_passwd(("clickhouse", "x", 4711, 4712, "", "/nonexistent", "/bin/false"))


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """A server whose data directory belongs to whoever runs the tests."""
    return ServerConfig.read(make_config(tmp_path / "server"))


@pytest.fixture
def seen_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the code believe that root runs it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def without_clickhouse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine have no user called clickhouse."""

    def none(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(module.pwd, "getpwnam", none)


def test_a_given_user_comes_first(config: ServerConfig) -> None:
    """--user wins over the records, by name or by number."""
    known = pwd.getpwuid(os.geteuid())
    assert server_user(config, known.pw_name, "nobody").uid == os.geteuid()
    assert server_user(config, str(os.geteuid())).name == known.pw_name


@pytest.mark.parametrize("name", ["no-such-user", "4294967295", "99999999999999999999", "-1", ""])
def test_a_given_user_must_exist(config: ServerConfig, name: str) -> None:
    with pytest.raises(ConfigurationError, match="this machine has no such user"):
        server_user(config, name)


def test_a_recorded_user_is_not_asked_for_again(config: ServerConfig, seen_as_root: None) -> None:
    assert server_user(config, None, "nobody").name == "nobody"


@as_root
def test_the_owner_of_the_data_is_the_servers_user(config: ServerConfig) -> None:
    """ClickHouse refuses to start as anybody but the owner of its data directory."""
    os.chown(config.path, CLICKHOUSE, CLICKHOUSE)
    found = server_user(config)
    assert (found.uid, found.gid) == (CLICKHOUSE, CLICKHOUSE)
    assert "owner of" in found.reason


def test_a_package_that_has_not_started_yet(
    config: ServerConfig, seen_as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first start there may be no data directory: then it is the user that ClickHouse's package creates."""
    config.path.rmdir()
    monkeypatch.setattr(module.pwd, "getpwnam", {"clickhouse": CLICKHOUSE_ENTRY}.__getitem__)
    assert server_user(config).name == "clickhouse"


def test_an_unknown_user_must_be_given(
    config: ServerConfig, seen_as_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.path.rmdir()
    without_clickhouse(monkeypatch)
    with pytest.raises(ConfigurationError, match=r"cannot tell which user the server runs as.*--user"):
        server_user(config)


def test_who_is_not_root_can_only_start_workers_alone(config: ServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert (server_user(config).uid, server_user(config).can_run) == (4242, True)
    assert not ServerUser("other", 1, 1, "test").can_run


@as_root
def test_a_process_of_the_servers_user_has_its_rights_and_no_others(tmp_path: Path) -> None:
    """No group, no variable and no working directory of root's."""
    user = ServerUser("clickhouse", CLICKHOUSE, CLICKHOUSE, "test")
    done = user.run(["/bin/sh", "-c", "id -u; id -g; id -G; pwd; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= || true"])
    assert done.stdout.decode().split() == [str(CLICKHOUSE)] * 3 + ["/"]


@as_root
def test_a_directory_of_the_servers_is_made_with_the_servers_rights(open_path: Path) -> None:
    """Otherwise a configuration written by the server's user could make root create a directory anywhere."""
    user = ServerUser("clickhouse", CLICKHOUSE, CLICKHOUSE, "test")
    with pytest.raises(ApplyError, match=f"cannot create {open_path}/new: create it with install -d"):
        user.make_directory(open_path / "new")
    (open_path / "theirs").mkdir()
    os.chown(open_path / "theirs", CLICKHOUSE, CLICKHOUSE)
    user.make_directory(open_path / "theirs" / "new")
    assert (open_path / "theirs" / "new").stat().st_uid == CLICKHOUSE
