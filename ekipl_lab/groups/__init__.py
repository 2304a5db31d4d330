"""A group of actions: pooled, scored, selected, given advantages. ``build.py`` is the one path."""
