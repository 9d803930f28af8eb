"""What an import of a feed would do, seen from its rows alone: no table is looked at or made."""
