"""What a container sees and may do: mounts, /etc, /proc, system calls, limits."""
