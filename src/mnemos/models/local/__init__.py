"""Local language models of the Hugging Face family, with their keys and values at hand. All of it needs torch and transformers.

`model` loads one, reads and generates; `conversation` talks with it over many turns; `fingerprint` names what keys and values depend on.
"""
