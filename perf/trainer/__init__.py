"""Speed and memory of an EKIPL step beside a step of TRL's GRPOTrainer: ``python -m``."""
