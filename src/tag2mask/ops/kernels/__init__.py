"""The compiled inner loops of the maths."""
