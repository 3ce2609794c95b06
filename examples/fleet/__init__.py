"""A small fleet of real HTTP services to break and to heal: see README.md in this folder.

`with Fleet(bootstrap_servers) as fleet: fleet.deploy("checkout", "v2")`
"""

from examples.fleet.fleet import Fleet, FleetError

__all__ = ["Fleet", "FleetError"]
