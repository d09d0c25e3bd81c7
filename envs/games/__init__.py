"""Games: OpenSpiel's rules under a text environment, positions as arrays, players and equilibria."""
