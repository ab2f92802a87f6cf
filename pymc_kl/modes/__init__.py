"""The modes of a posterior: starts, maxima, barriers, search, assignment of points, masses."""
