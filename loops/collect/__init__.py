"""Where batches come from. Nothing here knows an optimiser or an evaluation."""
