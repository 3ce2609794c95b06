"""Become another program that the kernel ends together with its parent, also when the parent is killed with -9.

Run by path from `streams.server_process`, as `python die_with_parent.py PARENT_PID PROGRAM [ARGUMENT...]`; imports
nothing of ours, so that it costs 15 ms. What comes next is the program: it keeps this process's id.

Only Linux has this call. Elsewhere a parent that ends, raises or is interrupted still stops its servers, but one that
is killed with SIGKILL leaves them behind.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; kept across exec


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if platform.system() == "Linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # The parent may have died before the call above: then no signal will come.
    if os.getppid() != parent:
        sys.exit("the parent has gone")
    os.execv(program[0], program)  # noqa: S606 - that is the point: no shell, this process becomes the program


if __name__ == "__main__":
    main()
