"""Where a vehicle was seen, in order: what is asked of it, the way, a table, and a record with pictures."""
