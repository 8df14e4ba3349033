"""The image's Dockerfile, taken apart."""

from __future__ import annotations

from pathlib import Path

from dockerfile_parse import DockerfileParser

REPOSITORY = Path(__file__).parents[1]
DOCKER = REPOSITORY / "docker"
DOCKERFILE = DOCKER / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Name and value of each instruction."""
    parsed = DockerfileParser(path=str(DOCKERFILE)).structure
    return [(one["instruction"], one["value"]) for one in parsed if one["instruction"] != "COMMENT"]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage's instructions, its own FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, value in instructions():
        if name == "FROM":
            _, _, stage = value.partition(" AS ")
            found[stage] = []
        if found:
            found[stage].append((name, value))
    return found


def inherited(stage: str) -> list[tuple[str, str]]:
    """The instructions of ``stage`` and of the stages that it is made FROM, the base first."""
    own = stages()[stage]
    parent = own[0][1].partition(" AS ")[0]
    return (inherited(parent) if parent in stages() else []) + own


def copied() -> list[str]:
    """What the image takes from the repository."""
    sources = []
    for name, value in instructions():
        words = value.split()
        if name == "COPY" and not any(word.startswith("--from=") for word in words):
            sources += [word for word in words if not word.startswith("--")][:-1]
    return sources
