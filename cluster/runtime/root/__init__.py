"""The root of a container, and what it may do there: mounts, /etc, /proc, system calls, limits."""
