"""Write kafka_jars.lock anew: `python -m runtime.kafka_lock` after a change of KAFKA_VERSION (needs the network)."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from jgo.maven import MavenContext

from runtime.broker_install import KAFKA_VERSION, LOCK_FILE

_HEAD = """\
# The class path of the embedded broker: SHA-256 and Maven coordinate of each jar. Made by runtime/kafka_lock.py.
"""


def main() -> None:
    """Resolve Kafka and what it needs at run time, download it all and write the hashes.

    Kafka is resolved alone: resolved together with log4j's binding, jgo lets log4j's bill of materials decide on
    versions, down to kafka-clients 3.9. The binding (slf4j 1.7 to log4j 2) is what Kafka's own archive adds.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=30)
        inputs, transitive = context.resolver.resolve(
            [context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")]
        )
        needed = [*inputs, *(each for each in transitive if each.scope in ("compile", "runtime"))]
        log4j = next(each.version for each in needed if each.artifactId == "log4j-core")
        needed.append(context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}"))
        lines = [
            f"{each.groupId}:{each.artifactId}:{each.version} "
            + hashlib.sha256(each.artifact.resolve().read_bytes()).hexdigest()
            for each in needed
        ]
    rows = (line.split() for line in sorted(lines))
    LOCK_FILE.write_text(_HEAD + "".join(f"{digest}  {coordinate}\n" for coordinate, digest in rows), "utf-8")


if __name__ == "__main__":
    main()
