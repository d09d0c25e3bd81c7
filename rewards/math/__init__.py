"""Mathematical answers: read without executing them, compared by an equivalence ladder."""
