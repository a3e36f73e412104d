"""What developers run beside the server, in the place of services that it uses."""
