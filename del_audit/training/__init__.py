"""`del-audit train`: parts of a configuration, trained on its public text."""
