"""Problems with answers: drawn by a generator or read from a file, judged by a verifier."""
