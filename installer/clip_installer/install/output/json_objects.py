"""A plan, its outcome and the findings of checks, as parts of the object that ``--json`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clip_installer.install.checks.findings import Finding, problems
from clip_installer.install.plan.plan import Plan, Step
from clip_installer.install.proposal import Outcome, Proposal
from clip_installer.install.removal import Removal
from clip_installer.planning.sizing import PlannedMemory
from clip_installer.server.config import ServerConfig
from clip_installer.tables.deploy import ObjectStep
from clip_installer.tables.search_page.deployment import HandlerStep


def proposal_object(proposal: Proposal, memory: PlannedMemory) -> dict[str, Any]:
    """The whole plan."""
    installation, config = proposal.installation, proposal.plan.config
    manifest, schema = installation.bundle.manifest, proposal.schema
    workers, index = memory.workers, memory.index
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
        "options": {change.name: {"old": change.old, "new": change.new} for change in proposal.options},
        "functions": installation.sql_names,
        "python": str(installation.python),
        "image_roots": [str(root) for root in installation.settings.image_roots],
        "pool_size": proposal.settled.options["pool-size"],
        "pool_sizes": dict(installation.pool_sizes),
        **plan_object(proposal.plan),
        "objects": [_object_step(step) for step in proposal.objects],
        "search_page": _delivery_object(proposal),
        "handlers": [handler_object(step) for step in proposal.handlers],
        "sql": [{"name": one.name, "sql": one.sql} for one in schema.statements] if schema else [],
        "memory": {
            "text_worker": workers.worker["text"],
            "image_worker": workers.worker["image"],
            "all_workers": workers.total,
            "decoding_image_limit": memory.decoding.image,
            "decoding_worker_limit": memory.decoding.worker,
            "decoding_limit": memory.decoding.total,
            "index_rows": index.rows if index else None,
            "indexes": index.total if index else None,
        },
        "findings": [finding_object(finding) for finding in proposal.findings],
        "refused": bool(problems(proposal.findings)),
    }


def outcome_object(outcome: Outcome, before: Sequence[Finding]) -> dict[str, Any]:
    """What was done; ``before`` are the findings before the change."""
    return {
        "changed": outcome.changed,
        "schema_changed": outcome.schema_changed,
        "recovered": outcome.recovered,
        "kept": [str(outcome.plan.config.on_disk(path)) for path in outcome.plan.kept()],
        "findings": [finding_object(finding) for finding in (*before, *outcome.findings)],
    }


def removal_object(removal: Removal, outcome: Outcome | None) -> dict[str, Any]:
    """An uninstall: planned, or done if there is an ``outcome``."""
    return {
        "dry_run": outcome is None,
        "changed": outcome.changed if outcome else removal.plan.changed,
        "models": [{"name": model.model, "suffix": model.suffix} for model in removal.models],
        "recovered": outcome.recovered if outcome else None,
        **plan_object(removal.plan),
        "dependents": [
            {"what": one.what, "table": one.table, "function": one.function, "breaks": one.breaks}
            for one in removal.dependents
        ],
        "handlers": [handler_object(step) for step in removal.handlers],
        "drops": removal.drops,
    }


def plan_object(plan: Plan) -> dict[str, Any]:
    """The changes of files."""
    return {
        "directories": [str(plan.config.on_disk(directory)) for directory in plan.directories],
        "files": [_step_object(plan, step) for step in plan.steps],
        "user": plan.user.name,
        "notes": list(plan.notes),
    }


def handler_object(step: HandlerStep) -> dict[str, str]:
    """What happens to one handler of a search page."""
    return {"name": step.name, "url": step.url, "action": step.action, "reason": step.reason}


def finding_object(finding: Finding) -> dict[str, str]:
    """A finding."""
    return {
        "level": finding.level,
        "subject": finding.subject,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def config_object(config: ServerConfig) -> dict[str, Any]:
    """The server's configuration."""
    return {
        "main_file": str(config.main_file),
        "path": str(config.path),
        "user_scripts_path": str(config.user_scripts_path),
        "user_files_path": str(config.user_files_path),
        "function_globs": list(config.function_globs),
        "destdir": str(config.destdir),
    }


def _delivery_object(proposal: Proposal) -> dict[str, str] | None:
    delivery = proposal.delivery
    if delivery is None:
        return None
    return {"address": delivery.page.url, "by": delivery.by, "reason": delivery.reason}


def _object_step(step: ObjectStep) -> dict[str, str]:
    return {
        "kind": step.made.kind.lower(),
        "name": step.made.plain_name,
        "action": step.action,
        "reason": step.reason,
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
