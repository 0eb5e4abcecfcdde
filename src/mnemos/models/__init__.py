"""Models that the memory calls on: embedders (offline MiniLM, hashed n-grams, remote endpoints) behind one protocol; importing this loads none."""
