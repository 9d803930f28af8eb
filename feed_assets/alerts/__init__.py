"""Alerts: their text, their state, and how they are sent. Imports no Dagster."""
