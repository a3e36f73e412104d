"""Composes a node from what lies beside: its containers, what its actors work with, the actors."""
