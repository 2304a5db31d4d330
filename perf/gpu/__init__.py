"""What only a GPU can show, part by part; `scripts/gpu_check.py` runs them."""
