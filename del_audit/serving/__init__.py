"""The running service: the proxy on the user's machine, the server, and what travels between them."""
