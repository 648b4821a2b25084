"""Motion spaces and clips, and what performs them."""
