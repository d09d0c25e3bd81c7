"""How good is a player? There is one class for each kind of domain."""
