"""From folders of photographs to arrays, with everything that was refused named."""
