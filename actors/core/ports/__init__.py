"""Protocols of what the actors need from outside; the layers above implement them."""
