"""A reader who pauses, or goes, holds nobody up."""

from __future__ import annotations

import os
import threading

from fleet.printer import Printer

LINES = 20_000


def left_out(lines: int) -> str:
    return f"{lines} left out"


def read_all(fileno: int, into: list[bytes]) -> None:
    while chunk := os.read(fileno, 65_536):
        into.append(chunk)


def test_all_is_written_in_order() -> None:
    reading, writing = os.pipe()
    printer, chunks = Printer(writing, left_out=left_out), list[bytes]()
    reader = threading.Thread(target=read_all, args=(reading, chunks))
    reader.start()
    for number in range(1000):
        printer.say(f"line {number} \ud800")
    printer.close()
    os.close(writing)
    assert not printer.is_alive()
    reader.join()
    os.close(reading)
    assert b"".join(chunks).decode().splitlines() == [f"line {number} ?" for number in range(1000)]


def test_who_says_more_than_is_read_is_not_held_up_and_what_is_missing_is_counted() -> None:
    reading, writing = os.pipe()
    printer, chunks = Printer(writing, left_out=left_out), list[bytes]()
    for number in range(LINES):  # more than a pipe and the printer hold
        printer.say(f"line {number}")
    reader = threading.Thread(target=read_all, args=(reading, chunks))
    reader.start()
    printer.close()
    os.close(writing)
    assert not printer.is_alive()
    reader.join()
    os.close(reading)
    words = [line.split() for line in b"".join(chunks).decode().splitlines()]
    shown = [int(number) for first, number, *_ in words if first == "line"]
    missing = sum(int(first) for first, *_ in words if first != "line")
    assert shown == sorted(shown)
    assert missing > 0
    assert len(shown) + missing == LINES


def test_a_reader_who_has_gone_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    printer = Printer(writing, left_out=left_out)
    for _ in range(LINES):
        printer.say("line")
    printer.close()
    os.close(writing)
    assert not printer.is_alive()
