"""Supervised fine-tuning: ``stage.py`` of any policy, ``run.py`` the warm start of a tiny one."""
