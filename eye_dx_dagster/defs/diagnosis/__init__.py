"""From a waiting message to an AI result."""
