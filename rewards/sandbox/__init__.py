"""Processes that may be killed, for work that can hang, crash or eat memory."""
