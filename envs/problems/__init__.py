"""Environments of problems, which a generator draws or a file holds, and which a verifier judges."""
