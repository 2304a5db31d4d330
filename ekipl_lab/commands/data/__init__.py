"""`ekipl data list, preview, check`: look at benchmarks."""
