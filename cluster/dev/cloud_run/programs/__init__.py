"""What an instance runs."""
