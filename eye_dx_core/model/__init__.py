"""The network: trunk, adapters, head, and the checkpoint that carries them."""
