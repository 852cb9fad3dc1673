"""How the steps of an instance are run, recorded and replayed."""
