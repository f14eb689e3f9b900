"""The words of Eye Dx: frozen values without I/O."""
