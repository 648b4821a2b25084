"""Heads and scenes of others: glTF, OBJ, FLAME and USD files in and out."""
