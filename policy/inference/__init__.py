"""Prompts to completions: what is asked, in which order it runs, and where keys and values lie."""
