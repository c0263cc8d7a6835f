"""`del-audit frontier`: at one exact token epsilon, what each mechanism leaves to use against what attacks read."""
