"""Exchangeable labels and sign flips: what maps copies of a mode to each other."""
