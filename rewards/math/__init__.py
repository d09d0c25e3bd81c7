"""Mathematical answers: parsed without executing them, and compared."""
