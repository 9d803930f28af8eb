"""Attributes of a feed in YAML."""
