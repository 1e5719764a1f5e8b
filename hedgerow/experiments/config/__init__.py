"""One TOML file, checked as a whole: the schema, what it builds, and every mistake in it."""
