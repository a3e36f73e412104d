"""Programs: exec, children, descriptors kept over a restart, activity."""
