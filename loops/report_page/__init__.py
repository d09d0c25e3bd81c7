"""A run, or several, as one HTML page that needs nothing else: `shuhari report`."""
