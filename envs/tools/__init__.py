"""Problems that are solved with a tool."""
