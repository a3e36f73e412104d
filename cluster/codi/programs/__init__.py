"""What CODI and the server say to each other about programs."""
