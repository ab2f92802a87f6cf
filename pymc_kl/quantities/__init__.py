"""Quantities of interest: what each source of draws says of them, and whether that changes the conclusion."""
