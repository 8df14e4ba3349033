"""The plan: what it contains, what it refuses, and that it writes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clip_installer.errors import ConfigurationError, ConflictError
from clip_installer.install.disk.disk import Disk
from clip_installer.install.files.placement import finds, place
from clip_installer.install.plan.planning import plan_removal
from clip_installer.install.records.records import records_path
from clip_installer.install.transaction.apply import applied
from clip_installer.server.config import ServerConfig
from clip_udfs.functions import FUNCTIONS
from tests.server_trees import GLOB, make_bundle, make_config, make_plan, make_target, snapshot


def install(directory: Path, *arguments: object, **options: object) -> None:
    with applied(make_plan(directory, *arguments, **options)):
        pass


def remove(directory: Path, *suffixes: str, force: bool = False) -> None:
    with applied(plan_removal(make_target(directory), suffixes or [""], force=force)):
        pass


def test_a_plan_is_complete_ordered_and_writes_nothing(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    before = snapshot(tmp_path)
    plan = make_plan(directory, bundle)
    assert snapshot(tmp_path) == before
    paths = [str(step.path.relative_to(tmp_path / "server")) for step in plan.steps[:-1]]
    home = f"var/user_scripts/clip_udfs/paper/{plan.records.models[0].revision}"
    assert paths[:7] == [
        *(f"{home}/bundle/{name}" for name in sorted(bundle.manifest.files)),
        f"{home}/bundle/manifest.json",
        f"{home}/worker.json",
        f"{home}/launch",
    ]
    assert sorted(paths[7:-1]) == sorted(f"etc/{name}_function.xml" for name in FUNCTIONS)
    assert paths[-1] == f"{home}/verified.json", "it is made of what is in place then"
    assert plan.steps[-1].path == records_path(Disk(plan.config))
    assert plan.changed
    assert {step.action for step in plan.steps} == {"create"}


def test_installing_makes_the_plan_empty_and_removing_leaves_nothing(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    before = snapshot(tmp_path / "server")
    install(directory, bundle)
    again = make_plan(directory, bundle)
    assert not again.changed
    assert {step.action for step in again.steps} == {"unchanged"}
    remove(directory)
    assert snapshot(tmp_path / "server") == before


def test_a_search_page_in_the_configuration_comes_and_goes_like_every_file(tmp_path: Path) -> None:
    """Each model has its own; an edit is reported; somebody else's file of that name is refused."""
    directory = make_config(tmp_path / "server")
    one, two = make_bundle(tmp_path / "one", "one"), make_bundle(tmp_path / "two", "two")
    before = snapshot(tmp_path / "server")
    install(directory, one, page=b"<clickhouse/>")
    install(directory, two, page=b"<clickhouse/>", suffix="b")
    assert sorted(path.name for path in (directory / "config.d").iterdir()) == ["clip_page.xml", "clip_page_b.xml"]
    page = directory / "config.d/clip_page.xml"
    assert not make_plan(directory, one, page=b"<clickhouse/>").changed
    page.write_text("<!-- mine --><clickhouse/>")
    assert [path.name for path in make_plan(directory, one, page=b"<clickhouse />").kept()] == ["clip_page.xml"]
    page.write_text("<clickhouse/>")
    install(directory, one)
    assert not page.exists()
    page.write_text("<clickhouse/>")
    with pytest.raises(ConflictError, match=r"clip_page\.xml exists and was not installed by install-udfs"):
        make_plan(directory, one, page=b"<clickhouse/>")
    page.unlink()
    remove(directory, "", "b")
    assert snapshot(tmp_path / "server") == before


def test_another_model_replaces_the_first(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server")
    install(directory, make_bundle(tmp_path / "one", "one"))
    install(directory, make_bundle(tmp_path / "two", "two"))
    home = tmp_path / "server/var/user_scripts/clip_udfs"
    assert sorted(path.name for path in home.iterdir()) == ["two"]
    assert "clip_udfs/two/" in (directory / "encode_text_function.xml").read_text()


def test_new_weights_change_every_definition(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server")
    install(directory, make_bundle(tmp_path / "old", weights=b"old"))
    plan = make_plan(directory, make_bundle(tmp_path / "new", weights=b"new"))
    changed = {step.path.name for step in plan.steps if step.changes}
    assert {f"{name}_function.xml" for name in FUNCTIONS} <= changed
    assert {"launch", "worker.json"} <= changed  # in a directory of their own, beside the old


def test_two_models_side_by_side(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server")
    before = snapshot(tmp_path / "server")
    first, second = make_bundle(tmp_path / "one", "one"), make_bundle(tmp_path / "two", "two")
    install(directory, first)
    only_first = snapshot(tmp_path / "server")
    install(directory, second, suffix="two")
    assert {"encode_text", "encode_text_two"} <= set(ServerConfig.read(directory).functions())
    assert not make_plan(directory, first).changed
    with pytest.raises(ConflictError, match="the model one is installed already, as encode_text;"):
        make_plan(directory, first, suffix="three")
    remove(directory, "two")
    assert snapshot(tmp_path / "server") == only_first
    remove(directory)
    assert snapshot(tmp_path / "server") == before


def test_two_models_share_the_drop_in_that_the_last_one_takes_away(tmp_path: Path) -> None:
    nowhere = "<user_defined_executable_functions_config>theirs.xml</user_defined_executable_functions_config>"
    directory = make_config(tmp_path / "server", f"<clickhouse><path>@/var/</path>{nowhere}</clickhouse>")
    before = snapshot(tmp_path / "server")
    install(directory, make_bundle(tmp_path / "one", "one"))
    install(directory, make_bundle(tmp_path / "two", "two"), suffix="two")
    for left, gone in (("encode_text_two", ""), ("encode_text", "two")):
        remove(directory, gone)
        functions = ServerConfig.read(directory).functions()
        assert left in functions
        assert len(functions) == len(FUNCTIONS)
        install(directory, make_bundle(tmp_path / f"again{gone}", gone or "one"), suffix=gone)
    remove(directory, "", "two")
    assert snapshot(tmp_path / "server") == before


@pytest.mark.parametrize("suffix", ["bytes", "bytes_x"])
def test_a_suffix_that_makes_another_functions_name(tmp_path: Path, suffix: str) -> None:
    directory = make_config(tmp_path / "server")
    install(directory, make_bundle(tmp_path / "one", "one"))
    install(directory, make_bundle(tmp_path / "x", "x"), suffix="x")
    with pytest.raises(ConflictError, match=r"named like|belongs to|already defined"):
        make_plan(directory, make_bundle(tmp_path / "two", "two"), suffix=suffix)


def test_a_name_that_somebody_else_defines_is_refused_with_the_file(tmp_path: Path) -> None:
    foreign = "<functions><function><name>encode_image</name></function></functions>"
    directory = make_config(tmp_path / "server", **{"theirs_function.xml": foreign})
    bundle = make_bundle(tmp_path / "bundle")
    for force in (False, True):
        with pytest.raises(ConflictError, match=r"encode_image is already defined in .*theirs_function\.xml"):
            make_plan(directory, bundle, force=force)


def test_a_foreign_file_is_kept_as_a_copy_and_restored(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server", **{"encode_text_function.xml": "<functions/>"})
    theirs = directory / "encode_text_function.xml"
    theirs.chmod(0o640)
    os.utime(theirs, (1_000_000_000, 1_000_000_000))
    before = snapshot(tmp_path / "server")
    bundle = make_bundle(tmp_path / "bundle")
    with pytest.raises(ConflictError, match=r"encode_text_function\.xml .*--force"):
        make_plan(directory, bundle)
    install(directory, bundle, force=True)
    assert "clip_udfs/paper/" in theirs.read_text()
    install(directory, make_bundle(tmp_path / "newer", weights=b"newer"))
    remove(directory)
    assert snapshot(tmp_path / "server") == before
    assert theirs.stat().st_mtime == 1_000_000_000


def test_an_edited_file_is_kept_and_reported(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    install(directory, bundle)
    edited = directory / "encode_text_function.xml"
    edited.write_text(edited.read_text().replace("<pool_size>2<", "<pool_size>9<"))
    plan = make_plan(directory, bundle)
    assert plan.kept() == [edited]
    assert not plan.changed
    install(directory, make_bundle(tmp_path / "newer", weights=b"newer"))
    assert "<pool_size>9<" in edited.read_text()
    with pytest.raises(ConflictError, match=r"encode_text_function\.xml was edited"):
        remove(directory)
    install(directory, bundle, force=True)
    assert "<pool_size>2<" in edited.read_text()


def test_an_edited_definition_gets_the_format_that_the_new_workers_speak(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    install(directory, bundle, format="TabSeparated")
    edited = directory / "encode_text_function.xml"
    edited.write_text(edited.read_text().replace("<pool_size>2<", "<pool_size>9<"))
    install(directory, bundle, format="RowBinaryWithNamesAndTypes")
    assert "<pool_size>9<" in edited.read_text()
    assert "<format>RowBinaryWithNamesAndTypes<" in edited.read_text()


def test_a_wrong_mode_is_corrected(tmp_path: Path) -> None:
    directory, bundle = make_config(tmp_path / "server"), make_bundle(tmp_path / "bundle")
    install(directory, bundle)
    (launcher,) = tmp_path.glob("server/var/user_scripts/clip_udfs/paper/*/launch")
    launcher.chmod(0o600)
    changed = [step for step in make_plan(directory, bundle).steps if step.changes]
    assert [step.path for step in changed] == [launcher]
    assert "0600 becomes 0755" in changed[0].reason


def test_something_that_is_not_a_file_is_in_the_way(tmp_path: Path) -> None:
    directory = make_config(tmp_path / "server")
    (directory / "encode_text_function.xml").symlink_to("/nowhere")
    with pytest.raises(ConflictError, match="not a regular file"):
        make_plan(directory, make_bundle(tmp_path / "bundle"), force=True)


@pytest.mark.parametrize(
    ("globs", "definitions", "drop_in"),
    [
        (["*_function.*ml"], "etc", False),
        (["*_function.xml"], "etc", False),
        (["/nowhere/*.xml", "functions/*.xml"], "etc/functions", False),
        (["@/etc/functions/*_function.xml"], "etc/functions", False),
        (["functions/*.yaml"], "etc/clip_udfs_functions", True),
        (["*/x_function.xml"], "etc/clip_udfs_functions", True),
        (["one.xml"], "etc/clip_udfs_functions", True),
        ([], "etc/clip_udfs_functions", True),
    ],
)
def test_definitions_go_where_the_configuration_looks(
    tmp_path: Path, globs: list[str], definitions: str, drop_in: bool
) -> None:
    elements = "".join(
        f'<user_defined_executable_functions_config id="{number}">{pattern}</user_defined_executable_functions_config>'
        for number, pattern in enumerate(globs)
    )
    directory = make_config(tmp_path / "server", f"<clickhouse><path>@/var</path>{elements}</clickhouse>")
    config = ServerConfig.read(directory)
    placement = place(config, "paper", "1")
    assert placement.definitions == tmp_path / "server" / definitions
    assert (placement.drop_in is not None) == drop_in
    before = snapshot(tmp_path / "server")
    bundle = make_bundle(tmp_path / "bundle")
    install(directory, bundle)
    config = ServerConfig.read(directory)
    assert config.functions()["encode_text"] == placement.definition("encode_text")
    assert config.function_globs[: len(globs)] == ServerConfig.read(directory).function_globs[: len(globs)]
    assert not make_plan(directory, bundle).changed
    remove(directory)
    assert snapshot(tmp_path / "server") == before


def test_a_directory_with_a_wildcard_in_its_name(tmp_path: Path) -> None:
    # ClickHouse expands the whole pattern, so what lies in such a directory is never found by it.
    directory = make_config(tmp_path / "se[r]ver", f"<clickhouse><path>@/var</path>{GLOB}</clickhouse>")
    with pytest.raises(ConfigurationError, match=r"\[r\].*wildcard"):
        place(ServerConfig.read(directory), "paper", "1")


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/etc/*_function.*ml", "/etc/a_function.xml", True),
        ("/etc/*_function.*ml", "/etc/.clip-udfs-0.new", False),
        ("/etc/*_function.*ml", "/etc/sub/a_function.xml", False),
        ("/etc/functions/*", "/etc/functions/.clip-udfs-0.new", True),
        ("/etc/functions/*", "/etc/.clip-udfs-0.new", False),
    ],
)
def test_what_a_pattern_finds(pattern: str, path: str, found: bool) -> None:
    assert finds(pattern, Path(path)) == found
