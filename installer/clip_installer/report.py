"""A plan and its outcome in words for a person, and as one JSON object for a program."""

from __future__ import annotations

from typing import Any

from clip_installer.plan import Plan, Step


def plan_lines(plan: Plan) -> list[str]:
    """The plan's files, one a line, in the order in which they are changed."""
    lines = [f"  create     {plan.config.on_disk(directory)}/" for directory in plan.directories]
    lines += [f"  {step.action:<10} {plan.config.on_disk(step.path)}  ({step.reason})" for step in plan.steps]
    return lines


def plan_object(plan: Plan) -> dict[str, Any]:
    """The plan for ``--json``."""
    return {
        "changed": plan.changed,
        "user": plan.user.name,
        "files": [_step_object(plan, step) for step in plan.steps],
    }


def _step_object(plan: Plan, step: Step) -> dict[str, Any]:
    return {"path": str(plan.config.on_disk(step.path)), "action": step.action, "reason": step.reason}
