"""HTTP handlers, one module per thing they serve. Each has a `ROUTES` table that `console.server` adds."""
