"""What a configuration names, loaded once, and what its client sends."""
