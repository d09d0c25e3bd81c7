"""What people and players do with trained policies: games and problems at a table, and tournaments."""
