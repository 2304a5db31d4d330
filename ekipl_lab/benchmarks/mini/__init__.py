"""The built-in benchmark: scenes from seeds, images, questions, chains and their checkers."""
