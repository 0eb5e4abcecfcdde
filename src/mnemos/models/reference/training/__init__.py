"""How the reference model is trained: `python -m mnemos.models.reference.training --out DIR`."""
