"""Makers of shipped files: the head, the pictures, the sample recordings, the lock."""
