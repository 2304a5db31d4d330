"""Where the cells of a study run: here (``local``), on Slurm, on Ray. `registry` knows them all.

A launcher has the form of `local.run_cells`. The engines share `job` (what is sent: the plain
command of one cell), `watch` (submit, show, requeue what was killed) and `gather` (records that
were written on another machine).
"""
