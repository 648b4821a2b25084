"""What makes the project's assets and measures it, run from its root; the library never imports it."""
