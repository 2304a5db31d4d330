"""`ekipl teach preview, report, precompute, record`: look at teachers, buy or write down words."""
