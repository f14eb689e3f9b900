"""What computes the model's answers, each in a file of its own; `choosing` picks one."""
