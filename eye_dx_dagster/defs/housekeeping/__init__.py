"""What keeps the installation in order."""
