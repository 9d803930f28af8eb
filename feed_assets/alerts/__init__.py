"""Alerts: what they say, whether one is due, and how they are sent. Knows no Dagster."""
