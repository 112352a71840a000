"""Checks what the image is made of without building it: its stages, its context and its locks."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8")).splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE if line and not line.startswith("#")]
FINAL = INSTRUCTIONS[max(at for at, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXCLUDES = (ROOT / "deploy" / "image.excludes").read_text("utf-8").splitlines()
NOT_IN_THE_IMAGE = {line for line in EXCLUDES if not line.startswith("#")}


def pinned(name: str) -> dict[str, str]:
    """A lock's entries, hashes and all, by package."""
    text = (ROOT / name).read_text("utf-8")
    entries = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)
    return {entry.partition("==")[0]: entry.rstrip() for entry in entries if entry}


def needed_here(roots: list[str]) -> set[str]:
    """The packages that these requirements bring on this platform, by what is installed."""
    waiting, found = [Requirement(root) for root in roots], dict[str, set[str]]()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), requirement.extras
        if name in NOT_IN_THE_IMAGE or (name in found and extras <= found[name]):
            continue
        found[name] = found.get(name, set()) | extras
        for line in distribution(name).requires or []:
            below = Requirement(line)
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append(below)
    return set(found)


def final(word: str) -> list[str]:
    """The arguments of an instruction in the last stage, in order."""
    return [rest for found, rest in FINAL if found == word]


@pytest.mark.parametrize("name", ["deploy/image.lock", "deploy/build.lock"])
def test_the_image_installs_exactly_what_was_tested(name: str) -> None:
    tested = pinned("requirements.lock")
    entries = pinned(name)
    assert entries == {package: tested[package] for package in entries}


def test_the_image_has_what_the_product_needs_and_nothing_for_development() -> None:
    here = needed_here(PROJECT["project"]["dependencies"])
    locked = pinned("deploy/image.lock")
    elsewhere = {name for name in locked if name not in here}
    assert here <= locked.keys()
    # What is locked beside that is for another platform or another Python, so it is not wanted by anything here.
    assert elsewhere <= {"async-timeout", "colorama", "typing-extensions", "tzdata", "greenlet"}


def test_the_builder_has_the_build_backend() -> None:
    assert needed_here(PROJECT["build-system"]["requires"]) <= pinned("deploy/build.lock").keys()


def test_every_install_is_by_hash_or_of_our_own_wheel() -> None:
    installs = [part for _, rest in INSTRUCTIONS for part in rest.split("&&") if re.search(r"\bpip\b.* install", part)]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-index" in install


def test_the_image_runs_tradewind_as_a_user_without_rights() -> None:
    assert final("USER") == ["10001:10001"]
    assert final("ENTRYPOINT") == ['["tradewind"]']
    assert final("STOPSIGNAL") == ["SIGTERM"]
    (environment,) = final("ENV")
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert "HOME=/tmp" in environment


def test_the_image_takes_nothing_from_the_context_but_through_the_builder() -> None:
    assert final("COPY") == ["--from=build /opt/tradewind /opt/tradewind"]
    assert not any("apt-get" in rest for _, rest in INSTRUCTIONS)


def test_the_image_says_what_it_is() -> None:
    (labels,) = final("LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert f"VERSION={PROJECT['project']['version']}" in final("ARG")


def test_the_base_is_named_once_by_an_exact_version() -> None:
    bases = [rest for word, rest in INSTRUCTIONS if word == "FROM"]
    assert bases == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-[a-z]+", INSTRUCTIONS[0][1])


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    copies = [rest.split() for word, rest in INSTRUCTIONS if word == "COPY" and not rest.startswith("--from")]
    copied = {source for sources in copies for source in sources[:-1]}
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    everything, *exceptions = [line for line in lines if not line.startswith("#")]
    assert everything == "*"
    assert {line[1:] for line in exceptions if line.startswith("!")} == copied
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied
