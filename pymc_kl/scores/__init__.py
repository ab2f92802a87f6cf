"""Scores of an approximation q against p: divergences, coverage, reliability, missed modes, marginals."""
