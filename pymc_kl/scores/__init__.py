"""What an approximation is worth beside p: divergences, coverage, reliability, missed modes, marginals."""
