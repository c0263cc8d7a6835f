"""What is measured, each figure with its uncertainty. Nothing is imported here: reading a figure stays light."""
