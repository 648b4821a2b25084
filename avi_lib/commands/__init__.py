"""The commands of `avi`, thin functions over the library: each module adds some to the parser."""
