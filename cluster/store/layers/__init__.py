"""The store's records and their keys, as functions over a transaction."""
