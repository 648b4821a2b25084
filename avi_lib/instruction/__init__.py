"""The language of instructions: its words, its sentences, and the face they ask for."""
