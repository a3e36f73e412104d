"""The supervisor: which actors a node needs, and their restarts."""
