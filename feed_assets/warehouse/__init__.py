"""Tables: one interface, the rules of shards and snapshots, and two warehouses."""
