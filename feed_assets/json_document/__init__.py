"""JSON documents: their array as lines."""
