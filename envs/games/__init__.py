"""Games: OpenSpiel's rules as text, the environment, positions as arrays, players and equilibria."""
