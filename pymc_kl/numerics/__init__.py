"""Estimates with standard errors, and batched climbs."""
