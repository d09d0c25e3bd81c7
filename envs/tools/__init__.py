"""Tools, and environments of problems that are solved with them."""
