"""`init`: a table in, a configuration that runs out."""
