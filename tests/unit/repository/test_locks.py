"""The locks hold what pyproject.toml asks for, on every Python, and one environment can have all of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement

from clip_installer.cloud.function import RUNTIME
from tests.documents import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKS = REPOSITORY / "locks"
PURPOSES = {"demo": "embedded", "host": None, "lint": "lint", "release": "release", "test": "test"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(name: str) -> str:
    """A package's name in the form that all spellings share."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def environment(python: str) -> dict[str, str]:
    """The markers of CPython ``python`` on Linux."""
    return {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
    }


def applies(marker: Marker | None, python: str) -> bool:
    return marker is None or marker.evaluate({**environment(python), "extra": ""})


@cache
def entries(purpose: str) -> list[tuple[Requirement, list[str]]]:
    """Each pinned requirement of a lock, with its hashes."""
    found = []
    text = (LOCKS / f"{purpose}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement, *hashes = line.split("--hash=")
            found.append((Requirement(requirement.strip()), [one.strip() for one in hashes]))
    return found


@cache
def pins(purpose: str, python: str) -> dict[str, str]:
    """The versions that a lock gives to ``python``, by package."""
    found: dict[str, str] = {}
    for requirement, _ in entries(purpose):
        if applies(requirement.marker, python):
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            assert normal(requirement.name) not in found
            found[normal(requirement.name)] = pin.version
    return found


def asked(extra: str | None) -> Iterator[Requirement]:
    """What pyproject.toml asks for itself and under ``extra``, with the extras that it names in turn."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, lines):
        if normal(requirement.name) == PROJECT["name"]:
            for other in requirement.extras:
                yield from asked(other)
        else:
            yield requirement


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_lock_meets_what_pyproject_asks_for(purpose: str, python: str) -> None:
    """Run ``make lock`` where this fails."""
    pinned = pins(purpose, python)
    for requirement in (*asked(None), *asked(PURPOSES[purpose])):
        if applies(requirement.marker, python):
            assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement


@pytest.mark.parametrize("python", PYTHONS)
def test_all_locks_fit_into_one_environment(python: str) -> None:
    whole = pins("test", python)
    for purpose in PURPOSES:
        assert pins(purpose, python).items() <= whole.items()


@pytest.mark.parametrize("purpose", [*PURPOSES, "uv"])
def test_every_pin_has_hashes_and_comes_from_the_index(purpose: str) -> None:
    assert entries(purpose)
    for requirement, hashes in entries(purpose):
        assert hashes, requirement
        assert requirement.url is None
        assert "+" not in str(requirement.specifier), "a build of one index only"


def test_a_lock_brings_the_build_backend() -> None:
    """Otherwise installing the checkout would fetch the newest."""
    for purpose in PURPOSES.keys() - {"host"}:  # of the packages, which hold what is built
        assert {"hatchling", "pip", "editables"} <= pins(purpose, "3.10").keys()


def test_the_ceilings_are_kept() -> None:
    lines = (LOCKS / "constraints.in").read_text(encoding="utf-8").splitlines()
    ceilings = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert ceilings
    for ceiling in ceilings:
        for python in PYTHONS:
            assert ceiling.specifier.contains(pins("test", python)[normal(ceiling.name)]), ceiling


@pytest.mark.parametrize("part", ["text", "image", "file"])
def test_the_archives_for_the_cloud_have_the_tested_versions(part: str) -> None:
    """Run ``make lock`` where this fails. The vectors are compared on these versions, and on no other."""
    lines = (REPOSITORY / f"config_templates/cloud/requirements-{part}.txt").read_text(encoding="utf-8").splitlines()
    cloud = {normal(name): version for name, _, version in (line.partition("==") for line in lines)}
    asked_for = (LOCKS / f"cloud-{part}.in").read_text(encoding="utf-8").splitlines()
    assert {name for name in asked_for if not name.startswith("#")} <= cloud.keys()
    assert cloud.items() <= pins("test", RUNTIME.removeprefix("python")).items()
