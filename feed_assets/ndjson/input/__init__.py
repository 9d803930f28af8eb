"""Lines and blocks of a feed's bytes."""
