"""Launching a container: a turn, the sandbox, what is put into it, a CODI that answers."""
