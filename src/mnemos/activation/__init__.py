"""KV memory: what a model has read, kept as keys and values, compressed for real, brought back, and reused.

`memory` is a transformers cache whose layers keep what a policy wants kept; `parts` are the forms in which keys and values can be stored; `policies`
decide. Nothing here is imported by the text tier, and all of it needs torch.
"""
