"""The transformation task of the built-in benchmark; ``task`` puts it together."""
