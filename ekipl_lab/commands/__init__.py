"""The `ekipl` commands: one file or folder each, with its own options."""
