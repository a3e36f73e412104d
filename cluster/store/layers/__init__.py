"""What lies in the store and under which keys, as functions over a transaction."""
