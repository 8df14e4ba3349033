"""The server's user tries to become root through install-udfs, or to have root's files changed or read.

Run by root, as CI does: the attacker is a second user, who owns the configuration, the data and ``user_scripts``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from clip_installer.errors import ClipUdfError, ConfigurationError, ConflictError, InstallerError
from clip_installer.install.checks.launch import refuse_changeable_program
from clip_installer.install.checks.verify import verify_host
from clip_installer.install.disk.disk import STATE_VARIABLE, Disk
from clip_installer.install.files.wanted import Installation
from clip_installer.install.output.differences import diff_lines
from clip_installer.install.plan.plan import Plan
from clip_installer.install.plan.planning import plan_install, plan_removal
from clip_installer.install.records.records import load_records, records_path
from clip_installer.install.request.options import Options
from clip_installer.install.request.target import Target as InstallTarget
from clip_installer.install.transaction.apply import applied, locked
from clip_installer.install.transaction.journal import journal_path
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import ServerUser
from clip_udfs.functions import FUNCTIONS
from clip_udfs.settings import WorkerSettings
from tests.server_trees import make_bundle, make_config
from tests.users import CLICKHOUSE, as_root, as_user

pytestmark = as_root
SERVER = ServerUser("clickhouse", CLICKHOUSE, CLICKHOUSE, "test")


class Target:
    """A server whose user is the attacker, and a directory of root's that must stay as it is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = make_config(root / "server")
        self.var = root / "server" / "var"
        self.scripts = self.var / "user_scripts"
        self.home = self.scripts / "clip_udfs"
        self.scripts.mkdir()
        for path in (self.etc, self.var, self.scripts):
            os.chown(path, CLICKHOUSE, CLICKHOUSE)
        self.secret = root / "roots" / "secret"
        self.secret.parent.mkdir(mode=0o700)
        self.secret.write_text("root's alone")
        self.secret.chmod(0o600)
        self.bundle = make_bundle(root / "bundle")
        self.before = self.roots()

    def roots(self) -> object:
        """Everything about root's own directory that must not change."""
        status = [
            (str(path), path.lstat().st_mode, path.lstat().st_uid, path.lstat().st_gid)
            for path in (self.secret.parent, *sorted(self.secret.parent.rglob("*")))
        ]
        return status, self.secret.read_text()

    def config(self) -> ServerConfig:
        return ServerConfig.read(self.etc)

    def target(self) -> InstallTarget:
        config = self.config()
        return InstallTarget(config, load_records(config), SERVER)

    def plan(self, *, force: bool = False) -> Plan:
        on = self.target()
        worker = WorkerSettings(bundle=Path(), image_roots=(on.config.user_files_path,))
        pools = dict.fromkeys(FUNCTIONS, 2)
        installation = Installation.placed(on.config, self.bundle, Path(sys.executable), worker, pools)
        return plan_install(on, installation, options=Options(), force=force)

    def install(self, *, force: bool = False) -> None:
        with locked(self.config()), applied(self.plan(force=force)):
            pass

    def remove(self, *, force: bool = False) -> None:
        with locked(self.config()):
            on = self.target()
            suffixes = [model.suffix for model in on.records.models]
            with applied(plan_removal(on, suffixes, force=force)):
                pass

    @property
    def launcher(self) -> Path:
        """The launcher that is installed."""
        return next(self.home.glob("paper/*/launch"))

    def attack(self, act: Callable[[], object]) -> None:
        as_user(CLICKHOUSE, act)

    def assert_unharmed(self) -> None:
        """Root's directory is as it was, and what was installed can be changed by root alone."""
        assert self.roots() == self.before
        if self.home.exists() and (self.home / "paper").exists():
            for path in (self.home, self.home / "paper", *(self.home / "paper").rglob("*")):
                assert path.lstat().st_uid == 0, path
                assert not path.lstat().st_mode & 0o022, path


@pytest.fixture
def target(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A server to attack; what is root's must be as it was after each test."""
    (open_path / "state").mkdir()
    monkeypatch.setenv(STATE_VARIABLE, str(open_path / "state"))
    made = Target(open_path)
    yield made
    made.assert_unharmed()


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Let the attacker repeat ``act`` as quickly as possible while the body runs."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(CLICKHOUSE)
        os.setuid(CLICKHOUSE)
        while True:
            with suppress(OSError):
                act()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_servers_user_can_use_what_is_installed_and_change_none_of_it(target: Target) -> None:
    """Readable and executable for everybody, writable for root; the records are root's alone to read."""
    target.install()

    def try_it() -> None:
        assert (target.launcher.parent / "bundle/manifest.json").read_bytes()
        assert os.access(target.launcher, os.X_OK)
        for path in (target.home, *target.home.rglob("*")):
            assert not os.access(path, os.W_OK), path
        with pytest.raises(PermissionError):
            list(Disk(target.config()).places.state.iterdir())

    disk = Disk(target.config())
    assert stat.S_IMODE(disk.places.state.stat().st_mode) == 0o700
    target.attack(try_it)
    target.assert_unharmed()
    target.remove()
    assert not target.home.exists()
    assert not disk.places.state.exists()


def test_a_planted_journal_is_not_believed(target: Target, open_path: Path) -> None:
    """Neither where older versions looked for it, in every parent directory, nor where the real one would be."""
    main = target.etc / "config.xml"
    key = sha256(str(main).encode()).hexdigest()[:12]
    journal = {
        "path": "x",
        "phase": "swapping",
        "directories": [],
        "obsolete": [str(target.secret.parent)],
        "operations": [
            {"target": str(target.secret), "staged": None, "saved": str(target.etc / "evil"), "existed": True}
        ],
    }
    changes = [
        {
            "target": str(target.secret),
            "saved": str(target.etc / "evil"),
            "staged": None,
            "existed": True,
            "late": False,
        }
    ]
    new = {"phase": "swapping", "directories": [], "obsolete": [], "adopted": [], "changes": changes}

    def plant() -> None:
        (target.etc / "evil").write_text("evil")
        for folder in (target.scripts, target.var, target.etc):
            (folder / f".clip-udfs-{key}.journal").write_text(json.dumps(journal))
            (folder / "journal.json").write_text(json.dumps(new))
        (target.home / ".state").mkdir(parents=True)
        (target.home / ".state/journal.json").write_text(json.dumps(new))

    target.attack(plant)
    with locked(target.config()) as recovered:
        assert recovered is None
    target.install(force=True)


@pytest.mark.parametrize("path", ["secret", "user_scripts", "relative", "up"])
def test_a_journal_that_names_other_files_is_refused(target: Target, path: str) -> None:
    """Even one in root's own directory: what it names is compared with the places of this installation."""
    disk = Disk(target.config())
    disk.places.state.mkdir(mode=0o700)
    named = {
        "secret": str(target.secret),
        "user_scripts": str(target.scripts / "their_script.sh"),
        "relative": "etc/encode_text_function.xml",
        "up": f"{target.etc}/../etc/encode_text_function.xml",
    }[path]
    saved = str(target.etc / ".clip-udfs-0123456789abcdef.old")
    change = {"target": named, "saved": saved, "staged": None, "existed": True, "late": False}
    values = {"phase": "swapping", "directories": [], "obsolete": [], "adopted": [], "changes": [change]}
    disk.places.state.joinpath("journal.json").write_text(json.dumps(values))
    with pytest.raises(ClipUdfError, match=r"journal\.json"), locked(target.config()):
        pass
    journal_path(disk).unlink()


def test_a_directory_of_records_that_the_attacker_made_is_refused(
    target: Target, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory of mode 1777, anybody can create the directory that root would use before root does."""
    shared = open_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setenv(STATE_VARIABLE, str(shared))
    state = Disk(target.config()).places.state
    target.attack(lambda: state.mkdir(mode=0o755))
    for act in (target.install, target.remove):
        with pytest.raises(ConflictError, match="belongs to 4711"):
            act()
    state.rmdir()
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(ConflictError, match="mode 0777"):
        target.install()
    state.rmdir()
    for owner, mode in ((0, 0o777), (CLICKHOUSE, 0o755)):
        shared.chmod(mode)
        os.chown(shared, owner, owner)
        with pytest.raises(ConflictError, match="can be changed by other users"):
            target.install()
    os.chown(shared, 0, 0)


@pytest.mark.parametrize("folder", ["etc", "scripts", "home", "var"])
def test_links_at_the_names_that_used_to_be_staged_are_not_followed(target: Target, folder: str) -> None:
    """``.clip-udfs-0.new`` was predictable, and root wrote through it and gave its target away."""

    def plant() -> None:
        where = {"etc": target.etc, "scripts": target.scripts, "home": target.home, "var": target.var}[folder]
        where.mkdir(exist_ok=True)
        for number in range(40):
            (where / f".clip-udfs-{number}.new").symlink_to(target.secret)
            (where / f".clip-udfs-{number}.old").symlink_to(target.secret)

    target.attack(plant)
    target.install()
    target.assert_unharmed()
    with suppress(ClipUdfError):  # the home of the attacker's links is not empty, and stays
        target.remove()


def test_staged_files_that_become_links_meanwhile_are_not_written_through(target: Target) -> None:
    """The attacker owns the directory of the definitions, sees staged names, and puts links of both kinds there."""
    for number in range(60):
        (target.etc / f"second-name-{number}").hardlink_to(target.secret)

    def exchange() -> None:
        second_names = [entry.path for entry in os.scandir(target.etc) if entry.name.startswith("second-name-")]
        for entry in os.scandir(target.etc):
            if not entry.name.startswith(".clip-udfs-"):
                continue
            if second_names:
                os.replace(second_names.pop(), entry.path)  # noqa: PTH105
            else:
                os.unlink(entry.path)  # noqa: PTH108
                os.symlink(target.secret, entry.path)  # noqa: PTH211

    with meanwhile(exchange):
        for _ in range(10):
            with suppress(ClipUdfError):
                target.install()
            with suppress(ClipUdfError):
                target.remove(force=True)
            assert target.roots() == target.before
    for entry in target.etc.iterdir():
        if entry.name != "config.xml":
            entry.unlink()
    with suppress(ClipUdfError), locked(target.config()):
        pass


def test_a_directory_that_is_exchanged_meanwhile_leads_root_nowhere(target: Target) -> None:
    """The attacker keeps renaming root's directory and putting a link, or another directory, in its place."""
    evil = target.scripts / "evil"

    def prepare() -> None:
        (evil / "paper/bundle").mkdir(parents=True)
        (evil / "paper/launch").symlink_to(target.secret)
        (target.scripts / "link").symlink_to(target.secret.parent)

    target.attack(prepare)
    aside = target.scripts / "aside"

    def exchange() -> None:
        for other in (evil, target.scripts / "link"):
            with suppress(OSError):
                target.home.rename(aside)
            with suppress(OSError):
                other.rename(target.home)
            with suppress(OSError):
                target.home.rename(other)
            with suppress(OSError):
                aside.rename(target.home)

    with meanwhile(exchange):
        for _ in range(10):
            with suppress(ClipUdfError):
                target.install()
            with suppress(ClipUdfError):
                target.remove(force=True)
            assert target.roots() == target.before
    assert {path.name for path in target.secret.parent.iterdir()} == {"secret"}
    shutil.rmtree(target.scripts)
    target.scripts.mkdir()


def test_a_home_that_is_a_link_is_refused(target: Target) -> None:
    target.attack(lambda: target.home.symlink_to(target.secret.parent))
    with pytest.raises(InstallerError, match=r"symbolic link|not a directory"):
        target.install()
    target.home.unlink()


def test_a_link_on_the_way_that_the_attacker_can_change_is_refused(target: Target, open_path: Path) -> None:
    """Root's own links are followed; those of the server's user are not, as they can lead elsewhere at any time."""
    (open_path / "elsewhere").mkdir()
    target.scripts.rmdir()
    target.attack(lambda: target.scripts.symlink_to(open_path / "elsewhere"))
    with pytest.raises(ConflictError, match="is a symbolic link that 4711 can change"):
        target.install()
    target.scripts.unlink()
    target.scripts.mkdir()


def old_installation(target: Target) -> dict[str, object]:
    """An installation by an older version: everything belongs to the server's user, the records among it."""
    target.install()
    disk = Disk(target.config())
    values = json.loads(records_path(disk).read_text())
    values["format_version"] = 1
    for model in values["models"]:
        del model["user"], model["options"]
    records_path(disk).unlink()
    disk.places.state.rmdir()
    values["directories"] = [path for path in values["directories"] if "state" not in path]
    (target.home / "manifest.json").write_text(json.dumps(values))
    for path in (target.home, *target.home.rglob("*"), *target.etc.glob("*_function.xml")):
        os.chown(path, CLICKHOUSE, CLICKHOUSE)
    return values  # type: ignore[no-any-return]


def test_an_older_installation_is_taken_over(target: Target) -> None:
    """Everything becomes root's, in new files: a descriptor still held by the server's user is useless."""
    old_installation(target)
    held = (target.launcher).open("r+b")
    plan = target.plan()
    assert {step.action for step in plan.steps if step.changes} <= {"replace", "create", "remove"}
    assert plan.adopted[0] == target.home
    assert any("taken over: paper" in note for note in plan.notes)
    target.install()
    held.write(b"#!/bin/sh\nid > /tmp/pwned\n")
    held.close()
    assert b"pwned" not in (target.launcher).read_bytes()
    assert not (target.home / "manifest.json").exists()
    target.assert_unharmed()
    assert not target.plan().changed
    target.remove()
    assert not target.home.exists()


def test_an_older_installation_can_be_removed_at_once(target: Target) -> None:
    old_installation(target)
    target.remove()
    assert not target.home.exists()
    assert not list(target.etc.glob("*_function.xml"))


def test_falsified_records_of_an_older_version_are_not_believed(target: Target) -> None:
    """Files and backups anywhere, with the right SHA-256; an interpreter and statements of the attacker's choice."""
    values = old_installation(target)
    digest = sha256(target.secret.read_bytes()).hexdigest()
    (model,) = values["models"]  # type: ignore[misc]
    theirs = target.etc / "theirs_function.xml"
    theirs.write_text("<functions/>")
    evil = target.scripts / "evil"

    def falsify() -> None:
        evil.write_text("evil")
        model["files"].append({"path": str(target.secret), "sha256": digest})
        model["files"].append({"path": str(theirs), "sha256": sha256(theirs.read_bytes()).hexdigest()})
        model["files"].append({"path": str(target.etc / "config.xml"), "sha256": digest})
        model["backups"] = [{"path": str(target.secret), "kept": str(evil)}]
        model["python"] = str(evil)
        model["drops"] = ["DROP VIEW IF EXISTS a", "DROP DATABASE prod", "SELECT '\x1b[2J'"]
        values["directories"] = [str(target.secret.parent), str(target.home)]
        (target.home / "manifest.json").write_text(json.dumps(values))

    target.attack(falsify)
    (believed,) = load_records(target.config()).models
    assert not {file.path for file in believed.files} & {target.secret, theirs, target.etc / "config.xml"}
    assert (believed.backups, believed.python, believed.drops) == ((), "", ("DROP VIEW IF EXISTS a",))
    target.remove()
    assert theirs.read_text() == "<functions/>"
    assert target.secret.parent.is_dir()


def test_a_changed_launcher_is_not_started(target: Target, open_path: Path) -> None:
    """Not as root and not as the server's user: what fails its SHA-256 is not started at all."""
    target.install()
    marker = open_path / "started"
    evil = target.scripts / "evil"

    launcher = target.launcher

    def exchange() -> None:
        shutil.copytree(target.home, evil)
        place = evil / launcher.relative_to(target.home)
        place.write_text(f"#!/bin/sh\nid -u > {marker}\n")
        place.chmod(0o755)
        target.home.rename(target.scripts / "aside")
        evil.rename(target.home)

    other = target.etc / "a_function.xml"  # ClickHouse reads it before ours
    target.attack(exchange)
    target.attack(lambda: other.write_text("<functions><function><name>encode_text</name></function></functions>"))
    config = target.config()
    (model,) = load_records(config).models
    findings = list(verify_host(config, model, SERVER))
    assert not marker.exists()
    said = " ".join(finding.message for finding in findings if finding.level == "problem")
    assert "launch was edited since it was installed" in said
    assert f"{target.home} can be changed by others" in said
    assert f"ClickHouse takes its definition from {other}" in said
    other.unlink()
    with pytest.raises(ConflictError, match="was edited"):
        target.remove()
    shutil.rmtree(target.home)
    (target.scripts / "aside").rename(target.home)


def test_what_is_started_runs_as_the_servers_user(open_path: Path) -> None:
    """The interpreter of the records too."""
    from clip_installer.install.checks.host import check_interpreter
    from clip_installer.install.records.records import InstalledModel

    marker = open_path / "marks"
    marker.mkdir()
    marker.chmod(0o777)
    python = open_path / "python"
    python.write_text(f"#!/bin/sh\nid -u > {marker}/uid; id -G > {marker}/groups; echo 1\n")
    python.chmod(0o755)
    check_interpreter(InstalledModel("", "m", "1", str(python), (), ()), SERVER)
    assert (marker / "uid").read_text().strip() == str(CLICKHOUSE)
    assert (marker / "groups").read_text().strip() == str(CLICKHOUSE)


@pytest.mark.parametrize("where", ["file", "directory", "writable"])
def test_nothing_that_others_can_change_is_started_as_root(open_path: Path, where: str) -> None:
    """If the server itself runs as root, its programs must belong to root."""
    program = open_path / "bin" / "program"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    root = ServerUser("root", 0, 0, "test")
    refuse_changeable_program(program, root)
    if where == "file":
        os.chown(program, CLICKHOUSE, CLICKHOUSE)
    elif where == "directory":
        os.chown(program.parent, CLICKHOUSE, CLICKHOUSE)
    else:
        program.chmod(0o775)
    with pytest.raises(ClipUdfError, match="is not started as root"):
        refuse_changeable_program(program, root)
    refuse_changeable_program(program, SERVER)


def test_a_hard_link_in_the_place_of_a_definition_harms_nothing(target: Target) -> None:
    """A second name for root's file: replaced, removed and copied as a name, never written or given away."""
    name = target.etc / "encode_text_function.xml"
    os.link(target.secret, name)
    with pytest.raises(ConflictError, match="was not installed by install-udfs"):
        target.install()
    target.install(force=True)
    assert target.roots() == target.before

    def look() -> None:
        assert b"root's alone" not in name.read_bytes()

    target.attack(look)
    target.remove()
    assert name.stat().st_mode & 0o777 == 0o600
    assert target.roots() == target.before


def test_a_difference_shows_neither_escape_sequences_nor_other_files(target: Target) -> None:
    """The server's user owns the directory of the definitions; root looks at an edit, or at what takes its place."""
    target.install()
    name = target.etc / "encode_text_function.xml"
    edited = name.read_text().replace("encode_text", "\x1b[2J\x9b31m")

    def edit() -> None:
        name.unlink()
        name.write_text(edited)

    target.attack(edit)
    plan = target.plan()
    assert any("-        <name>\\x1b[2J\\x9b31m</name>" in line for line in diff_lines(plan))
    for make in (lambda: name.symlink_to(target.secret), lambda: os.mkfifo(name)):
        name.unlink()
        target.attack(make)
        assert not any("root's alone" in line for line in diff_lines(plan))
    name.unlink()
    target.remove()


def test_access_control_lists_give_nobody_else_access(target: Target) -> None:
    """Those that new files inherit are cut off by their mode; those that let others write are seen in it."""
    entries = ((1, 7, -1), (2, 7, CLICKHOUSE), (4, 7, -1), (16, 7, -1), (32, 7, -1))  # of linux/posix_acl_xattr.h
    everything = struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", tag, bits, who % 2**32) for tag, bits, who in entries
    )
    try:
        for folder in (target.scripts, target.etc, target.root / "state"):
            os.setxattr(folder, "system.posix_acl_default", everything)
    except OSError:
        pytest.skip("this file system has no access control lists")
    target.install()

    def try_it() -> None:
        for path in (target.home, *target.home.rglob("*")):
            assert not os.access(path, os.W_OK), path
        with pytest.raises(PermissionError):
            list(Disk(target.config()).places.state.iterdir())

    target.attack(try_it)
    os.setxattr(target.launcher, "system.posix_acl_access", everything)
    (model,) = load_records(target.config()).models
    findings = [finding.message for finding in verify_host(target.config(), model, SERVER)]
    assert f"{target.launcher} can be changed by others" in findings
    os.setxattr(Disk(target.config()).places.state, "system.posix_acl_access", everything)
    with pytest.raises(ConflictError, match="so other users can change what is in it"):
        target.remove()
    Disk(target.config()).places.state.chmod(0o700)
    target.launcher.chmod(0o755)


def test_a_data_directory_that_is_not_there_is_not_made_by_root(target: Target) -> None:
    """The server's user may have written the path, and root would give that user whatever it creates there."""
    made = target.secret.parent / "made"
    config = (target.etc / "config.xml").read_text()
    (target.etc / "config.xml").write_text(config.replace("<path>", f"<user_files_path>{made}</user_files_path><path>"))
    with pytest.raises(ClipUdfError, match=f"cannot create {made}"):
        target.install()
    assert not made.exists()
    (target.etc / "config.xml").write_text(config.replace(str(target.var), str(target.root / "nowhere")))
    with pytest.raises(ConfigurationError, match="nowhere does not exist: start the server once"):
        target.install()
    (target.etc / "config.xml").write_text(config)


def test_other_users_see_that_root_installed(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not told that nothing is installed."""
    from clip_installer.install.disk import disk as module

    monkeypatch.delenv(STATE_VARIABLE)
    monkeypatch.setattr(module, "ROOTS_STATE", target.root / "lib")
    (target.root / "lib").mkdir()
    target.install()

    def look() -> None:
        with pytest.raises(ConflictError, match=r"belongs to root .*run this command as that user"):
            load_records(target.config())

    target.attack(look)
    target.remove()
