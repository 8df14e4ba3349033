"""The installer's record of hashed files: created, updated and removed together with the files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clip_installer.errors import ApplyError
from clip_installer.install.checks import host
from clip_installer.install.disk import hashed
from clip_installer.install.plan.plan import Plan
from clip_installer.install.plan.planning import plan_removal
from clip_installer.install.transaction.apply import applied
from clip_udfs.bundle import Bundle
from clip_udfs.manifest import MANIFEST
from clip_udfs.settings import WorkerSettings
from clip_udfs.verified import VERIFIED, VerifiedFiles
from tests.server_trees import make_bundle, make_config, make_plan, make_target, snapshot


def install(plan: Plan) -> Path:
    """Carry ``plan`` out; the directory of what it installed."""
    with applied(plan):
        pass
    (model,) = plan.records.models
    return plan.config.user_scripts_path / "clip_udfs" / model.model / model.revision


def unknown(revision: Path) -> set[str]:
    """The files that a worker would hash."""
    bundle = Bundle.open(revision / "bundle")
    found = VerifiedFiles.beside(bundle.directory)
    return {name for name, one in bundle.manifest.files.items() if not found.holds(bundle.file(name), one.sha256)}


def changes(plan: Plan) -> list[tuple[str, str]]:
    return [(step.action, step.path.name) for step in plan.steps if step.changes]


def test_workers_of_an_installation_need_not_hash(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    revision = install(make_plan(directory, bundle))
    assert unknown(revision) == set()
    status = (revision / VERIFIED).stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o644)


def test_files_that_were_touched_are_recorded_again_and_nothing_else_is_done(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    revision = install(make_plan(directory, bundle))
    (revision / "bundle/text.weights").touch()
    assert unknown(revision) == {"text.weights"}
    plan = make_plan(directory, bundle)
    assert changes(plan) == [("replace", VERIFIED)]
    install(plan)
    assert unknown(revision) == set()
    assert not make_plan(directory, bundle).changed


def test_verify_says_that_workers_hash_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "engine_files", lambda settings, bundle, tower: bundle.records(f"{tower}.weights"))
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    settings = WorkerSettings(install(make_plan(directory, bundle)) / "bundle")
    assert list(host.check_start(settings)) == []
    (settings.bundle / "text.weights").touch()
    (finding,) = host.check_start(settings)
    assert "each worker hashes 1 of the model's 3 files" in finding.message
    install(make_plan(directory, bundle))
    assert list(host.check_start(settings)) == []


def test_a_damaged_file_that_is_put_back_is_recorded_again(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    revision = install(make_plan(directory, bundle))
    (revision / "bundle/text.weights").write_bytes(b"WEIGHTS")
    plan = make_plan(directory, bundle, force=True)
    assert changes(plan) == [("replace", "text.weights"), ("replace", VERIFIED)]
    install(plan)
    assert unknown(revision) == set()


def test_a_damaged_file_that_is_kept_is_left_to_the_workers_to_refuse(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    revision = install(make_plan(directory, bundle))
    (revision / "bundle/text.weights").write_bytes(b"WEIGHTS")
    install(make_plan(directory, bundle))
    assert unknown(revision) == {"text.weights"}
    assert not make_plan(directory, bundle).changed


def test_a_bundle_with_files_named_like_the_installers_is_removed_too(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    for name in ("launch", VERIFIED):
        (bundle.directory / name).write_bytes(b"{}")
    manifest = bundle.directory / MANIFEST
    values = json.loads(manifest.read_text())
    values["files"] |= dict.fromkeys(("launch", VERIFIED), values["files"]["golden.json"])
    manifest.write_text(json.dumps(values))
    before = snapshot(tmp_path / "server")
    install(make_plan(directory, Bundle.open(bundle.directory)))
    with applied(plan_removal(make_target(directory), [""])):
        pass
    assert snapshot(tmp_path / "server") == before


@pytest.mark.parametrize("content", ["", "{}", '{"format_version": 1, "files": {}}'])
def test_a_damaged_record_is_replaced(tmp_path: Path, content: str) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    revision = install(make_plan(directory, bundle))
    (revision / VERIFIED).write_text(content)
    plan = make_plan(directory, bundle)
    assert changes(plan) == [("replace", VERIFIED)]
    install(plan)
    assert unknown(revision) == set()


def test_the_record_goes_with_its_installation(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server")
    before = snapshot(tmp_path / "server")
    old = install(make_plan(directory, make_bundle(tmp_path / "old", weights=b"old")))
    new = install(make_plan(directory, make_bundle(tmp_path / "new", weights=b"new")))
    assert (old.exists(), (new / VERIFIED).exists()) == (False, True)
    with applied(plan_removal(make_target(directory), [""])):
        pass
    assert snapshot(tmp_path / "server") == before


def test_an_install_that_fails_leaves_the_record_that_was_there(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    revision = install(make_plan(directory, bundle))
    (revision / "bundle/text.weights").touch()
    before = (revision / VERIFIED).read_bytes()
    with pytest.raises(ApplyError, match="everything is as it was before"), applied(make_plan(directory, bundle)):
        raise ApplyError("no")
    assert (revision / VERIFIED).read_bytes() == before
    assert unknown(revision) == {"text.weights"}


def test_the_installers_own_records_say_nothing_of_this_disk(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    plan = make_plan(directory, bundle)
    assert VERIFIED not in plan.records.to_json()


def test_a_file_that_is_exchanged_while_it_is_installed_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise, whoever can write there could have different content accepted as hashed."""
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    plan = make_plan(directory, bundle)
    compute = hashed._digest

    def exchanged(handle: int) -> str:
        found = compute(handle)
        for path in (tmp_path / "server").rglob("text.weights"):
            path.write_bytes(b"WEIGHTS")
        return found

    monkeypatch.setattr(hashed, "_digest", exchanged)
    before = snapshot(tmp_path / "server")
    with pytest.raises(
        ApplyError, match=r"text\.weights changed while it was being installed: run .*everything is as it was"
    ):
        install(plan)
    assert snapshot(tmp_path / "server") == before


def test_a_file_as_young_as_the_clock_can_tell_is_left_to_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could change once more within the same step of the file system's clock, and look unchanged."""
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    plan = make_plan(directory, bundle)
    monkeypatch.setattr(hashed.HashedFiles, "_later", lambda self, disk, clock: 0)  # a clock that stands still
    assert unknown(install(plan)) == set(bundle.manifest.files)
