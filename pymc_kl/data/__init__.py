"""Data sets that come with the package; each file names its source."""
