"""How good is a player? One class a kind of domain."""
