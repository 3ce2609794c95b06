"""One module a row: see `benchmarks.scoreboard` for how to add one."""
