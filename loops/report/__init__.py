"""What a run shows: its report, the learning curve, TensorBoard."""
