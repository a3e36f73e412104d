"""CODI: the agent inside a container, and the server's client of it."""
