"""Recorded topics read again: archives of them, backtests over them, single incidents rebuilt from them."""
