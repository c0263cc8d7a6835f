"""Workers that fill a run's folder: processes of this machine, or actors of a Ray cluster."""
