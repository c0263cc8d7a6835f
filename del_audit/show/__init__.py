"""How figures and text are shown. No other room of del_audit is imported here."""
