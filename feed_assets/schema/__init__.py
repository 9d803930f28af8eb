"""Columns and types: the vocabulary that readers and warehouses share."""
