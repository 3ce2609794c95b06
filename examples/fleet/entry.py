"""Where the supervisor's process begins: the fork server first, so that both import at the same time."""

from __future__ import annotations

from examples.fleet import processes

if __name__ == "__main__":
    processes.prepare()
    from examples.fleet import supervisor

    supervisor.main()
