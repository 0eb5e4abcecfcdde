"""Reading: who sees what, as of when; searches, contexts, and what they give."""
