"""One import: from a verified body to a stored table."""
