"""What an agent did, as it can be learnt from: trajectories, typed slots, segments, checks, duplicates, and credit by outcome."""
