"""`del-audit curve`: exact trade-off and privacy curves of several releases, as a page or a picture."""
