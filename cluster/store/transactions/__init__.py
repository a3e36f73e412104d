"""Transactions over any engine: retries, and reads of one's own writes."""
