"""A plan, its outcome and the findings of checks as lines for a person."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from clip_installer import resources
from clip_installer.install.checks.findings import Finding, problems
from clip_installer.install.checks.golden import precision_loss
from clip_installer.install.files.placement import BUNDLE
from clip_installer.install.output.memory import memory_lines
from clip_installer.install.plan.plan import Plan, Step
from clip_installer.install.proposal import Outcome, Proposal
from clip_installer.install.removal import Removal
from clip_installer.planning.sizing import PlannedMemory, spoken
from clip_installer.server.user import user_name
from clip_installer.tables.deploy import ObjectStep
from clip_installer.tables.search_page.deployment import HandlerStep
from clip_udfs.errors import printable

Style = Callable[[str, str], str]
_ADDS, _CHANGES, _REMOVES = ("create", "take over"), ("replace", "restore"), ("remove",)
_SIGNS = {**dict.fromkeys(_ADDS, "+"), **dict.fromkeys(_CHANGES, "~"), **dict.fromkeys(_REMOVES, "-"), "keep": "="}
_COLOURS = {"+": "green", "~": "yellow", "-": "red", "=": "cyan"}
_LEVELS = {"ok": "green", "note": "cyan", "problem": "red"}


def unstyled(text: str, colour: str) -> str:
    """A :data:`Style` without colours."""
    return text


def plan_lines(proposal: Proposal, memory: PlannedMemory, style: Style = unstyled) -> Iterator[str]:
    """The whole plan: model, server, user, options, files, tables and memory."""
    plan = proposal.plan
    yield f"ClickHouse server configured by {plan.config.on_disk(plan.config.main_file)}"
    yield ""
    yield from _summary_lines(proposal)
    if proposal.options:
        yield ""
        yield "Options"
        width = max(len(change.name) for change in proposal.options)
        for change in proposal.options:
            yield f"  {style('~', 'yellow')} {change.name:<{width}}  {change.old} -> {change.new}"
    yield ""
    yield "Files"
    yield from (f"  {line}" for line in file_lines(plan, style))
    if proposal.objects:
        yield ""
        yield "Tables and views"
        yield from (f"  {line}" for line in object_lines(proposal.objects, style))
    if proposal.handlers:
        yield ""
        yield "Search page"
        yield from (f"  {line}" for line in handler_lines(proposal.handlers, style))
    yield ""
    yield "Memory"
    yield from (f"  {line}" for line in memory_lines(memory))
    if proposal.findings:
        yield ""
        yield "Checks before the change"
        yield from finding_lines(proposal.findings, style)
    yield ""
    yield count_line(plan, proposal.objects, proposal.handlers)


def handler_lines(handlers: Sequence[HandlerStep], style: Style = unstyled) -> Iterator[str]:
    """What happens to the handlers of a search page; those that stay as they are in one line."""
    signs = {"create": "+", "replace": "~", "remove": "-", "refused": "!"}
    for step in handlers:
        if step.action != "unchanged":
            sign = signs[step.action]
            yield f"{style(sign, _COLOURS.get(sign, 'red'))} {step.url}  {step.reason}"
    unchanged = sum(step.action == "unchanged" for step in handlers)
    if unchanged:
        yield f"  {unchanged} handlers unchanged"


def count_line(plan: Plan, objects: Sequence[ObjectStep] = (), handlers: Sequence[HandlerStep] = ()) -> str:
    """How many files, tables, views and handlers a plan adds, changes and removes."""
    made = [*(step.action for step in objects), *(step.action for step in handlers)]
    add = plan.count(*_ADDS) + made.count("create")
    change = plan.count(*_CHANGES) + made.count("replace")
    remove = plan.count(*_REMOVES) + made.count("remove")
    return f"Plan: {add} to add, {change} to change, {remove} to remove."


def _summary_lines(proposal: Proposal) -> Iterator[str]:
    plan, installation = proposal.plan, proposal.installation
    manifest, placement, config = installation.bundle.manifest, installation.placement, proposal.plan.config
    yield _entry("model", f"{manifest.name}, vectors of {manifest.dimension} numbers")
    if manifest.notice:
        yield _entry("", printable(manifest.notice))
    elif installation.bundle.directory.parent == resources.builtin_models():
        yield _entry("", "the package's demo model: for production, choose another with --model")
    if loss := precision_loss(manifest):
        yield _entry("precision", loss)
    if proposal.replaced:
        yield _entry("replaces", f"{proposal.replaced}, whose vectors are not comparable with this model's: tables")
        yield _entry("", "filled with it must be filled again; --suffix NAME installs beside it instead")
    yield _entry("functions", ", ".join(installation.sql_names))
    yield _entry("definitions", f"{config.on_disk(placement.definitions)}")
    if placement.drop_in is None:
        yield _entry("", "already searched by the configuration; no configuration file is added or edited")
    else:
        yield _entry("", f"{config.on_disk(placement.drop_in)} adds this directory to those that are searched")
    yield _entry("programs", f"{config.on_disk(placement.directory)}")
    yield _entry("interpreter", f"{installation.python}")
    for number, root in enumerate(installation.settings.image_roots):
        yield _entry("images" if number == 0 else "", f"encode_image reads below {root}, and nowhere else")
    if installation.settings.jpeg_decoding == "scaled":
        yield _entry("", "large JPEGs are decoded at a fraction of their size: photographs keep a cosine of 0.9995")
    if installation.settings.exif_orientation:
        yield _entry("", "photographs are turned upright, as their EXIF block says, before they are encoded")
    if (delivery := proposal.delivery) is not None:
        how = "by CREATE HANDLER" if delivery.file is None else f"by {config.on_disk(delivery.file.path)}"
        yield _entry("search page", f"{delivery.page.url}, {how}: {delivery.reason}")
    yield _entry("owner", _owner(plan))
    for number, note in enumerate(plan.notes):
        yield _entry("taken over" if number == 0 else "", note)
    if proposal.schema is not None and (cluster := proposal.schema.parameters.cluster):
        yield _entry("cluster", f"{cluster}: the schema is created on all of its hosts, the files only on this one;")
        yield _entry("", "run this on every other host too, there with --no-ddl")


def file_lines(plan: Plan, style: Style = unstyled) -> Iterator[str]:
    """What happens to the files, in the order of the changes; those of a bundle on one line."""
    for directory in plan.adopted:
        yield f"{style('~', 'yellow')} {plan.config.on_disk(directory)}/  which others could change"
    for directory in plan.directories:
        if directory.parent not in plan.directories:
            yield f"{style('+', 'green')} {plan.config.on_disk(directory)}/"
    bundles: dict[tuple[str, Path], list[Step]] = {}
    for step in plan.steps:
        if step.action != "unchanged" and (bundle := _bundle_directory(step.path)) is not None:
            bundles.setdefault((step.action, bundle), []).append(step)
    for (action, bundle), steps in bundles.items():
        size = sum(step.wanted.size for step in steps if step.wanted is not None)
        said = f", {spoken(size)}" if size else ""
        yield f"{_sign(action, style)} {plan.config.on_disk(bundle)}/  {len(steps)} files of the model" + said
    for step in plan.steps:
        if step.action != "unchanged" and _bundle_directory(step.path) is None:
            yield f"{_sign(step.action, style)} {plan.config.on_disk(step.path)}  {step.reason}"
    if unchanged := plan.count("unchanged"):
        yield f"  {unchanged} files are as they should be"


def object_lines(objects: Iterable[ObjectStep], style: Style = unstyled) -> Iterator[str]:
    """What happens to tables and views."""
    unchanged = 0
    for step in objects:
        if step.action == "unchanged":
            unchanged += 1
        elif step.action != "left out":  # a finding reports it
            sign = "!" if step.action == "refused" else _sign(step.action, style)
            yield f"{sign} {step.made.kind.lower()} {step.made.plain_name}  {step.reason}"
    if unchanged:
        yield f"  {unchanged} tables and views are as they should be"


def sql_lines(title: str, statements: Sequence[str]) -> Iterator[str]:
    """Statements under a title, ready to be run."""
    yield title
    spaced = any("\n" in statement for statement in statements)
    for statement in statements:
        if spaced:
            yield ""
        yield f"{statement};"


def smoke_statements(proposal: Proposal) -> list[str]:
    """Statements that test on the server whether the functions are loaded and work."""
    names = proposal.installation.sql_names
    listed = ", ".join(f"'{name}'" for name in names)
    return [
        "SYSTEM RELOAD FUNCTIONS",
        f"SELECT name, load_status, loading_error_message FROM system.user_defined_functions WHERE name IN ({listed})",
        f"SELECT length({names[0]}('cat'))",
    ]


def finding_lines(findings: Sequence[Finding], style: Style = unstyled) -> Iterator[str]:
    """One line for each finding, and one for the remedy of a problem."""
    for finding in findings:
        level = style(f"{finding.level:<8}", _LEVELS[finding.level])
        yield f"  {level} {finding.subject}: {finding.message}"
        if finding.remedy:
            yield f"           -> {finding.remedy}"


def verdict_line(findings: Sequence[Finding]) -> str:
    """How many checks passed, in one line."""
    wrong = len(problems(findings))
    notes = sum(finding.level == "note" for finding in findings)
    noted = f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    passed = sum(finding.level == "ok" for finding in findings)
    return f"{'FAILED' if wrong else 'OK'}: {passed} checks passed, {wrong} failed{noted}."


def made_lines(outcome: Outcome) -> Iterator[str]:
    """What an install created or changed on the server."""
    for action, word in (("create", "created"), ("replace", "replaced")):
        names = [
            f"{step.made.kind.lower()} {step.made.plain_name}" for step in outcome.objects if step.action == action
        ]
        if names:
            yield f"On the server, {word}: {', '.join(names)}."


def dependent_lines(removal: Removal) -> Iterator[str]:
    """What depends on the removed functions."""
    if removal.dependents:
        yield ""
        yield "Objects that depend on these functions"
        for one in removal.dependents:
            yield f"  {one}" + (": inserts will fail" if one.breaks else "")


def _sign(action: str, style: Style) -> str:
    sign = _SIGNS[action]
    return style(sign, _COLOURS[sign])


def _owner(plan: Plan) -> str:
    return f"{user_name(os.geteuid())}; the server's user, {plan.user.name} ({plan.user.reason}), can only read them"


def _entry(key: str, value: str) -> str:
    return f"  {key:<12} {value}".rstrip()


def _bundle_directory(path: Path) -> Path | None:
    return next((parent for parent in path.parents if parent.name == BUNDLE), None)
