"""EKIPL Lab: a research workbench for Vision-EKIPL (arXiv 2506.06856)."""

__version__ = "0.1.0"
