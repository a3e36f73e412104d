"""Terminals between a browser and CODI."""
