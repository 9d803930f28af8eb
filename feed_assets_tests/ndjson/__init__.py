"""What the reading of NDJSON promises, as tests."""
