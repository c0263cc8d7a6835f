"""What is asked: one YAML file with everything that decides what is served and what is demanded of it."""
