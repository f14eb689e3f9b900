"""The memory of every case: the only place where its state lives."""
