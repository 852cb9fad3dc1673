"""What Everstep does in a second, beside its peers and the limits of the machine. Not part of the package."""
