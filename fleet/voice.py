"""Says on stdout what the processes print and what `tradewind up` has to tell, for people or as JSON."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from fleet.log_lines import Look, as_json, last_words, readable
from fleet.printer import Printer
from fleet.remarks import UP, Remark

_FD_STDOUT = 1


class Voice:
    """All that is said, in the order in which it came; open for as long as the block lasts.

    Args:
        names: of the processes.
        coloured: whether stdout shows colours.
        json_logs: whether each line is to be a JSON object.
        log_dir: where everything is that was not shown.
    """

    def __init__(self, names: tuple[str, ...], *, coloured: bool, json_logs: bool, log_dir: str) -> None:
        self._look = Look((UP, *names), coloured=coloured)
        self._json = json_logs
        self._log_dir = log_dir
        self._words: dict[str, str] = {}
        self._printer = Printer(_FD_STDOUT, left_out=self._left_out)

    def line(self, name: str, line: str) -> None:
        """A process has printed a line."""
        if words := last_words(line):
            self._words[name] = words
        if line.strip():
            self._printer.say(as_json(name, line, time=_now()) if self._json else readable(name, line, self._look))

    def say(self, remark: Remark) -> None:
        """`tradewind up` has something to tell."""
        self._printer.say(self._said(remark))

    def words_of(self, name: str) -> str | None:
        """What may be the reason for a process's end; once: what comes after are another life's."""
        return self._words.pop(name, None)

    def close(self) -> None:
        """Wait a little for who reads it."""
        self._printer.close()

    def _said(self, remark: Remark) -> str:
        if self._json:
            told = {"time": _now(), "level": remark.level, "process": UP, "event": remark.event, **remark.fields}
            return as_json(UP, json.dumps(told if remark.fields else {**told, "text": remark.text}), time="")
        return "\n".join(
            readable(UP, json.dumps({"time": _now(), "level": remark.level, "event": line}), self._look)
            for line in remark.text.split("\n")
        )

    def _left_out(self, lines: int) -> str:
        text = f"{lines} lines were not shown, because nobody read on; they are in {self._log_dir}"
        return self._said(Remark(event="up.unread", level="warning", text=text, fields={"lines": lines}))


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
