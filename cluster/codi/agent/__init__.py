"""CODI, the agent inside a container. It imports nothing of the server, and as little as it can."""
