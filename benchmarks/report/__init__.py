"""Tables and plots of a result."""
