"""Teachers: external knowledge, one adapter per file; ``build.py`` makes them from a config."""
