"""A plan and its outcome in words for a person, and as one JSON object for a program."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clip_installer import resources
from clip_installer.install.checks.findings import Finding
from clip_installer.install.checks.golden import precision_loss
from clip_installer.install.flow import Outcome, Proposal
from clip_installer.install.placement import BUNDLE
from clip_installer.install.plan import Plan, Step
from clip_installer.install.wanted import READABLE
from clip_installer.planning.sizing import IndexMemory, WorkerMemory, spoken
from clip_installer.server.config import ServerConfig
from clip_installer.server.user import user_name

_TEXT_LIMIT = 16_384
_INDEX_CACHE = 5 << 30


def plan_lines(proposal: Proposal, workers: WorkerMemory, index: IndexMemory | None) -> Iterator[str]:
    """The whole plan for a person: what, where, who, which files, which memory."""
    plan, installation = proposal.plan, proposal.installation
    manifest, placement, config = installation.bundle.manifest, installation.placement, proposal.plan.config
    yield f"ClickHouse server configured by {config.on_disk(config.main_file)}"
    yield ""
    yield _entry("model", f"{manifest.name}, vectors of {manifest.dimension} numbers")
    if manifest.notice:
        yield _entry("", manifest.notice)
    elif installation.bundle.directory.parent == resources.builtin_models():
        yield _entry("", "a demonstration model that the package ships: for production give another with --model")
    if loss := precision_loss(manifest):
        yield _entry("precision", loss)
    if proposal.replaced:
        yield _entry("replaces", f"{proposal.replaced}, whose vectors do not compare with this model's: tables that it")
        yield _entry("", "filled must be filled anew; --suffix NAME installs beside it instead")
    yield _entry("functions", ", ".join(installation.sql_names))
    yield _entry("definitions", f"{config.on_disk(placement.definitions)}")
    if placement.drop_in is None:
        yield _entry("", "searched by the configuration as it is; no configuration file is added or edited")
    elif config.function_globs:
        yield _entry("", f"none of {', '.join(config.function_globs)} can take them, so")
        yield _entry("", f"{config.on_disk(placement.drop_in)} adds this directory to those that are searched")
    else:
        yield _entry("", "the configuration names no place for definitions, so")
        yield _entry("", f"{config.on_disk(placement.drop_in)} adds this directory")
    yield _entry("programs", f"{config.on_disk(placement.home / placement.model)}")
    yield _entry("interpreter", f"{installation.python}")
    for number, root in enumerate(installation.settings.image_roots):
        yield _entry("pictures" if number == 0 else "", f"encode_image reads below {root}, and nowhere else")
    if installation.settings.jpeg_decoding == "scaled":
        yield _entry("", "large JPEGs are decoded at a fraction of their size: photographs keep a cosine of 0.9995")
    yield _entry("owner", _owner(plan))
    for number, note in enumerate(plan.notes):
        yield _entry("taken over" if number == 0 else "", note)
    if proposal.schema is not None and (cluster := proposal.schema.parameters.cluster):
        yield _entry("cluster", f"{cluster}: the schema is created on all of its hosts, the files only on this one;")
        yield _entry("", "run this on every other host too, there with --no-ddl")
    yield ""
    yield "Files"
    yield from (f"  {line}" for line in file_lines(plan))
    yield ""
    yield "Memory"
    yield from (f"  {line}" for line in memory_lines(workers, index))


def file_lines(plan: Plan) -> Iterator[str]:
    """The files in the order in which they are changed; those of the bundle in one line."""
    for directory in plan.directories:
        if directory.parent not in plan.directories:
            yield f"create     0755  {plan.config.on_disk(directory)}/"
    for directory in plan.adopted:
        yield f"take over  0755  {plan.config.on_disk(directory)}/  which others could change"
    bundles: dict[tuple[str, Path], list[Step]] = {}
    for step in plan.steps:
        if (bundle := _bundle_directory(step.path)) is not None:
            bundles.setdefault((step.action, bundle), []).append(step)
    for (action, bundle), steps in bundles.items():
        size = sum(step.wanted.size for step in steps if step.wanted is not None)
        mode = f"{READABLE:04o}" if size else "    "
        said = f", {spoken(size)}" if size else ""
        yield f"{action:<10} {mode}  {plan.config.on_disk(bundle)}/  {len(steps)} files of the bundle" + said
    for step in plan.steps:
        if _bundle_directory(step.path) is None:
            mode = f"{step.wanted.mode:04o}" if step.wanted else "    "
            yield f"{step.action:<10} {mode}  {plan.config.on_disk(step.path)}  {step.reason}"


def memory_lines(workers: WorkerMemory, index: IndexMemory | None) -> Iterator[str]:
    """What the workers and the vector indexes will take."""
    for tower, size in workers.worker.items():
        weights = spoken(workers.weights[tower])
        said = "of weights, which all its workers share" if workers.shared else "of weights in each"
        yield f"{spoken(size):>9}  a worker of encode_{tower}, and {weights} {said}"
    yield (
        f"{spoken(workers.total):>9}  all functions with {workers.pool_size} workers each; a worker"
        " starts with the first query that needs it"
    )
    if index is not None:
        yield (
            f"{spoken(index.total):>9}  both vector indexes of {index.rows:,} rows: twice"
            f" {spoken(index.vectors)} of vectors and {spoken(index.graph)} of graph"
        )
        if index.total > _INDEX_CACHE:
            yield (
                "           more than ClickHouse keeps by default: set vector_similarity_index_cache_size"
                f" to {index.total}"
            )
        yield f"{spoken(index.table):>9}  on disk for the vectors of these rows"


def content_lines(plan: Plan) -> Iterator[str]:
    """The content of every small file that would be written."""
    for step in plan.steps:
        if step.changes and step.wanted is not None and isinstance(step.wanted.content, bytes):
            yield ""
            yield f"==> {plan.config.on_disk(step.path)}"
            yield step.wanted.content.decode().rstrip("\n")


def diff_lines(plan: Plan) -> Iterator[str]:
    """Unified differences between the disk and the plan; for binary files a line with sizes."""
    for step in plan.steps:
        if step.action == "unchanged":
            continue
        path = plan.config.on_disk(step.path)
        before = _text(path)
        if step.wanted is None:
            source = plan.config.on_disk(step.source) if step.source else None
            after = _text(source) if source else ""
        else:
            content = step.wanted.content
            after = _text(content) if isinstance(content, Path) else content.decode()
        if before is None or after is None:
            yield f"Binary file {path}: {step.action}"
            continue
        yield from difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            str(path) if path.exists() else "/dev/null",
            "/dev/null" if step.action == "remove" else str(path),
            lineterm="",
        )


def sql_lines(title: str, statements: Sequence[str]) -> Iterator[str]:
    """Statements under a title, as they can be typed."""
    yield title
    spaced = any("\n" in statement for statement in statements)
    for statement in statements:
        if spaced:
            yield ""
        yield f"{statement};"


def smoke_statements(proposal: Proposal) -> list[str]:
    """Statements that show on the server that it loaded the functions and that they answer."""
    names = proposal.installation.sql_names
    listed = ", ".join(f"'{name}'" for name in names)
    return [
        "SYSTEM RELOAD FUNCTIONS",
        f"SELECT name, load_status, loading_error_message FROM system.user_defined_functions WHERE name IN ({listed})",
        f"SELECT length({names[0]}('cat'))",
    ]


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One line for each finding."""
    for finding in findings:
        yield f"  {finding.level:<8} {finding.subject}: {finding.message}"
        if finding.remedy:
            yield f"           -> {finding.remedy}"


def plan_object(plan: Plan) -> dict[str, Any]:
    """The changes of files for ``--json``."""
    return {
        "directories": [str(plan.config.on_disk(directory)) for directory in plan.directories],
        "files": [_step_object(plan, step) for step in plan.steps],
        "user": plan.user.name,
        "notes": list(plan.notes),
    }


def proposal_object(proposal: Proposal, workers: WorkerMemory, index: IndexMemory | None) -> dict[str, Any]:
    """The whole plan for ``--json``."""
    installation, config = proposal.installation, proposal.plan.config
    manifest = installation.bundle.manifest
    schema = proposal.schema
    return {
        "server": config_object(config),
        "model": {
            "name": manifest.name,
            "dimension": manifest.dimension,
            "precision": manifest.precision,
            "cosine": dict(manifest.cosine),
            "notice": manifest.notice,
        },
        "replaces": proposal.replaced,
        "functions": installation.sql_names,
        "python": str(installation.python),
        "image_roots": [str(root) for root in installation.settings.image_roots],
        "pool_size": installation.pool_size,
        **plan_object(proposal.plan),
        "sql": [{"name": one.name, "sql": one.sql} for one in schema.statements] if schema else [],
        "memory": {
            "text_worker": workers.worker["text"],
            "image_worker": workers.worker["image"],
            "all_workers": workers.total,
            "index_rows": index.rows if index else None,
            "indexes": index.total if index else None,
        },
    }


def outcome_object(outcome: Outcome) -> dict[str, Any]:
    """What was done, for ``--json``."""
    return {
        "changed": outcome.changed,
        "schema_changed": outcome.schema_changed,
        "recovered": outcome.recovered,
        "kept": [str(outcome.plan.config.on_disk(path)) for path in outcome.plan.kept()],
        "findings": [finding_object(finding) for finding in outcome.findings],
    }


def finding_object(finding: Finding) -> dict[str, str]:
    """A finding for ``--json``."""
    return {
        "level": finding.level,
        "subject": finding.subject,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def config_object(config: ServerConfig) -> dict[str, Any]:
    """The server for ``--json``."""
    return {
        "main_file": str(config.main_file),
        "path": str(config.path),
        "user_scripts_path": str(config.user_scripts_path),
        "user_files_path": str(config.user_files_path),
        "function_globs": list(config.function_globs),
        "destdir": str(config.destdir),
    }


def _step_object(plan: Plan, step: Step) -> dict[str, Any]:
    described: dict[str, Any] = {
        "path": str(plan.config.on_disk(step.path)),
        "action": step.action,
        "reason": step.reason,
    }
    if step.wanted is not None:
        described |= {
            "mode": f"{step.wanted.mode:04o}",
            "bytes": step.wanted.size,
            "sha256": step.wanted.digest,
        }
        if isinstance(step.wanted.content, bytes):
            described["content"] = step.wanted.content.decode()
    return described


def _owner(plan: Plan) -> str:
    return f"{user_name(os.geteuid())}; the server's user, {plan.user.name} ({plan.user.reason}), can only read them"


def _entry(key: str, value: str) -> str:
    return f"  {key:<12} {value}"


def _bundle_directory(path: Path) -> Path | None:
    return next((parent for parent in path.parents if parent.name == BUNDLE), None)


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _TEXT_LIMIT:
            return None
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError):
        return None
