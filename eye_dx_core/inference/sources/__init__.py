"""Where photographs come from: folders, web hosts, object stores; each only as far as the settings allow."""
