"""`del-audit verify-mechanism`: any client as a black box, its connection, and what the battery found of it."""
