"""The extractive answerer: a question and texts in, a short answer with its quote and confidence out. No language model."""
