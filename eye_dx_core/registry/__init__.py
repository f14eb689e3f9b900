"""Where trained checkpoints are kept, named and trusted."""
