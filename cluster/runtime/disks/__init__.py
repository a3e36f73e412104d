"""Disks of workspaces: images, loop devices, directories."""
