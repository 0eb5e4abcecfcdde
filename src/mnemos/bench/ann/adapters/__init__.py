"""A file for each system, loaded by `_measure.py` in the environment of the system: its first line names packages for pip, the system first, and its
class `Index(folder, dimensions, options, cores)` has

    build(vectors, attributes)                 leaves an index of vectors (n, d) float32, ids 0 … n-1, in the folder
    open()                                     makes it ready to be asked, in another process than the one that built it
    search(query, k, setting, allowed)         the ids of the nearest, nearest first; `allowed` is what `filter` gave, or None
    filter(below)                              lets `attribute < below` through; raises `NotImplementedError`, saying why, where there is none
    insert(row, vector, attribute), delete(row)    where the system can; else `why_no_change` says why not
    tend(), verify(), space()                  upkeep, problems, and numbers of bytes and counts: for a full replacement
    close()

`noted`, where it is there, holds numbers of the last search.
"""
