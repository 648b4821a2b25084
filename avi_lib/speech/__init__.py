"""Audio in, checked; phones with times; prosody."""
