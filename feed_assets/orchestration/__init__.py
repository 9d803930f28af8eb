"""Feeds as Dagster assets, schedules, checks and sensors. All Dagster code is here."""
