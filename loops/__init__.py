"""How does a policy get better? Phases, learner, evaluation, monitoring and the command line."""
