"""Reference, fits, modes and scores as one DataTree; its files and tables."""
