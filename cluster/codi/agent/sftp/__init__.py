"""A file server for SFTP clients, version 3 as OpenSSH speaks it. It runs as the workspace's user."""
