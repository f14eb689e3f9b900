"""How soon somebody should be seen: signed rules in a file, and the decision by them."""
