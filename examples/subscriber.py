"""A whole subscriber of `tradewind sink forward`, in the standard library alone; docs/sinks.md tells what it has to do.

`python -m examples.subscriber SECRET_FILE DATABASE PORT` prints every change that is news.
"""

import base64
import hashlib
import hmac
import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

FRESH_S = 300


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Call it with the bytes of the body as they came, before anything has parsed them. If False, answer 401."""
    try:
        message, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
        fresh = abs(time.time() - int(sent_at)) < FRESH_S
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, f"{message}.{sent_at}.".encode() + body, hashlib.sha256).digest()
        expected = b"v1," + base64.b64encode(digest)
        signatures = headers["webhook-signature"].encode().split(b" ")
    except (KeyError, ValueError):
        return False
    return fresh and any(hmac.compare_digest(expected, one) for one in signatures)


def is_news(database: sqlite3.Connection, change: Mapping[str, Any]) -> bool:
    """False for a repeat. Do what you do about the change in the same transaction, and commit once."""
    database.execute("CREATE TABLE IF NOT EXISTS seen (entity TEXT PRIMARY KEY, sequence TEXT NOT NULL)")
    entity = f"{change['account']}/{change['entity_type']}/{change['entity_id']}"
    noted = database.execute(
        "INSERT INTO seen VALUES (?, ?) ON CONFLICT (entity) DO UPDATE SET sequence = excluded.sequence "
        "WHERE excluded.sequence > seen.sequence",
        (entity, change["sequence"]),
    )
    return noted.rowcount == 1


def main(secret_file: str, database_file: str, port: str) -> None:
    """Serve until the process is ended."""
    secret = Path(secret_file).read_text("utf-8").strip()
    database = sqlite3.connect(database_file)

    class Subscriber(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if not is_genuine(secret, headers, body):
                self.answer(401)
                return
            change = json.loads(body)["data"]
            with database:
                if is_news(database, change):
                    sys.stdout.write("{account} {entity_type}/{entity_id} {action}\n".format(**change))
                    sys.stdout.flush()
            self.answer(204)

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """One line per change is enough."""

    HTTPServer(("0.0.0.0", int(port)), Subscriber).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
