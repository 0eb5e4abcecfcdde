"""Programs: a task is done instruction by instruction, each in a context of its own, with all state in files (L2MAC, arXiv 2310.02003).

Pure logic: nothing here knows of a store. `kernel.program` binds it to a space.
"""
