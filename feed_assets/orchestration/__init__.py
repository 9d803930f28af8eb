"""The only Dagster code: what a feed is in Dagster."""
