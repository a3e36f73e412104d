"""The calls of the client, one file a subject; ``AsyncClient`` has them all."""
