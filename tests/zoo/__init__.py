"""The problems, by kind; `problems.py` is their one registry."""
