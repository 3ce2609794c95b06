"""What a history teaches: where to automate, how well it goes, what may replace a model. Pure, but for its files."""
