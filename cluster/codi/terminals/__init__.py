"""A terminal as CODI, the server and clients speak of it: frames, numbers, modes, size."""
