"""Run the fleet by itself: `python -m examples.fleet --bootstrap-servers 127.0.0.1:9092`."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from examples.fleet.fleet import Fleet


def main() -> None:
    """Start the fleet, print how to reach it, and wait for Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fleet", description="Real HTTP services to break and heal."
    )
    sink = parser.add_mutually_exclusive_group(required=True)
    sink.add_argument("--bootstrap-servers", help="Kafka to publish telemetry to; its topics must exist")
    sink.add_argument("--telemetry-file", type=Path, help="write telemetry as JSON lines instead")
    parser.add_argument("--topic-prefix", default="reflexarc")
    parser.add_argument("--environment", default="demo")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--requests-per-second", type=float, default=60.0)
    arguments = parser.parse_args()
    # Not an option: command lines are visible to every user of the machine.
    token = os.environ.get("FLEET_TOKEN")
    with Fleet(token=token, **vars(arguments)) as fleet:
        print(f"control  {fleet.control_url}\nproxy    {fleet.proxy_url}\ntoken    {fleet.token}", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping")


if __name__ == "__main__":
    main()
