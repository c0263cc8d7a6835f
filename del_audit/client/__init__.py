"""The client of a configuration: the folder that it is given, and what it sends."""
