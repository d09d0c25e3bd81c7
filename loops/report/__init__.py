"""What a run shows: report, learning curve, TensorBoard."""
