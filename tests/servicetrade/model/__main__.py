"""Explores every scenario with as many events as the first argument says, and tells how much there was."""

from __future__ import annotations

import logging
import sys

from tests.servicetrade.model.automaton import Automaton
from tests.servicetrade.model.scenarios import ALIKE, ONE_FORBIDDEN, STARTS, Scenario

if __name__ == "__main__":
    logging.disable()
    automaton = Automaton()
    for start in STARTS:
        for kinds in (ALIKE, ONE_FORBIDDEN):
            scenario = Scenario(start=start, kinds=kinds, events=int(sys.argv[1]))
            report = scenario.explorer(automaton).explore()
            sys.stdout.write(f"{scenario}: {report.states} states, {report.transitions} steps, no flaw\n")
            sys.stdout.flush()
