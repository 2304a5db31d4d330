"""Teachers, one adapter per file."""
