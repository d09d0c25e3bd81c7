"""Processes that can be killed, for work that may hang, crash or use too much memory."""
