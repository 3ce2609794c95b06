"""The demo: a real service breaks, and is diagnosed, mitigated and seen to recover. Run by `make demo`."""
