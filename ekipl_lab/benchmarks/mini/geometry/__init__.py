"""The geometry task of the built-in benchmark; ``task`` puts it together."""
