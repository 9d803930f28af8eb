"""Values of each type: what a type accepts and how a text becomes its value."""
