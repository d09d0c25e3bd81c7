"""Who decides? Base and adapter, tokenizer, generator, players, search. Knows nothing of loops."""
