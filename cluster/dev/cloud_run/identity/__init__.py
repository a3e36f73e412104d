"""Who calls and what they may: tokens, the metadata server, IAM."""
