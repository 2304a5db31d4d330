"""The supervised warm start of the tiny policy: ``run.py`` is the command."""
