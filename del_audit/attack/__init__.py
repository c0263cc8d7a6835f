"""`del-audit attack`: what each attack reads of private prompts, beside what the guarantee allows."""
