"""The counting task of the built-in benchmark; ``task`` puts it together."""
