"""Tie a child process to its parent, so that a parent that crashes leaves no orphan behind.

Run as a script it is the shim between fork and exec: `parent_death.py PARENT_PID SIGNAL COMMAND...` ties itself
and becomes COMMAND, keeping its pid. A shim instead of `preexec_fn`, because running Python between fork and exec
is unsafe in a process that has threads. It imports nothing but the standard library and starts in about 30 ms.

On Linux the kernel does the work (prctl(2), PR_SET_PDEATHSIG; it survives execve). The signal is sent when the
parent *thread* that forked ends, so children must be started from a thread that outlives them: the main thread.
Elsewhere a POSIX shell loop watches both processes, and notices within about a second.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GUARD = """
trap '' HUP INT TERM
while kill -0 "$1" && kill -0 "$2"; do sleep 1; done 2>/dev/null
kill -"$3" "$2" 2>/dev/null || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 "$2" 2>/dev/null || exit 0; done
kill -KILL "$2" 2>/dev/null
"""


def tied(argv: Sequence[str], *, signum: signal.Signals = signal.SIGTERM) -> list[str]:
    """Give the command line that runs `argv` tied to the calling process: when it dies, `signum` is sent."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(signum)), *argv]


def tie_to_parent(parent_pid: int, signum: signal.Signals) -> None:
    """Have this process, and whatever it becomes by exec, sent `signum` when its parent dies.

    Args:
        parent_pid: who the parent is believed to be; if it is gone already, this process sends itself `signum`.
        signum: what to be sent.

    Raises:
        OSError: the kernel refused.
    """
    if sys.platform.startswith("linux"):
        import ctypes  # noqa: PLC0415 - only needed here, and the shim has to start fast

        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        start_guard(parent_pid, os.getpid(), signum)
    if os.getppid() != parent_pid:  # it died before the tie held
        os.kill(os.getpid(), signum)


def start_guard(parent_pid: int, child_pid: int, signum: signal.Signals) -> int:
    """Start the shell loop that sends `signum` (and SIGKILL 10 s later) to the child once the parent is gone.

    Returns:
        The pid of the loop. It ends by itself when either process is gone.
    """
    command = ["/bin/sh", "-c", _GUARD, "guard", str(parent_pid), str(child_pid), str(int(signum))]
    # Not the child's pipes: a loop that outlives the child would keep them open.
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    return os.posix_spawn(command[0], command, os.environ, file_actions=actions)


def _main() -> None:
    parent_pid, signum, command = int(sys.argv[1]), signal.Signals(int(sys.argv[2])), sys.argv[3:]
    tie_to_parent(parent_pid, signum)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()
