"""`del-audit reproduce`: tables of the DEL paper by its own protocol, and the same tables at matched exact epsilon."""
