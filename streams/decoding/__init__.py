"""Raw telemetry, a batch at a time: `metrics` to columns, `events` (logs and alerts) to rows. Use `streams.decode`."""
