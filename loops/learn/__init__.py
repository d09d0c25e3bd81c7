"""How the adapter changes. Nothing here knows an environment or an evaluation."""
