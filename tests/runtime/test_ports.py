"""Ports that are chosen before anybody listens on them are not chosen twice."""

from __future__ import annotations

import subprocess
import sys

from runtime.broker_config import free_port

CHOOSE = "from runtime.broker_config import free_port; print(*(free_port() for _ in range(40)))"


def test_processes_that_choose_at_the_same_time_get_different_ports() -> None:
    choosing = [subprocess.Popen([sys.executable, "-c", CHOOSE], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    chosen = [int(port) for process in choosing for port in process.communicate(timeout=60)[0].split()]
    chosen += [free_port() for _ in range(40)]
    assert len(chosen) == len(set(chosen)) == 160
