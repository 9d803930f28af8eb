"""Observed values to columns: names, types and conflicts."""
