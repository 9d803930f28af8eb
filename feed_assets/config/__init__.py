"""Declarations: the attributes that a feed's YAML may have."""
