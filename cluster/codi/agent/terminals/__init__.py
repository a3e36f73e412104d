"""Terminals, their viewers, their memory, and their way into the journal."""
