"""How a process of this program starts, writes, is interrupted and ends: its signals, streams, locks and exit codes."""
