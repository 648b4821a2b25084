"""The trained stages: for each, what it is trained on, its losses joined, and what it leaves behind."""
