"""How each program is told to do a row's work."""
