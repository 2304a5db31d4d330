"""The settings of a run, checked and put together, and the plan that they come to."""
