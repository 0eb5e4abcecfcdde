"""Strategies side by side: what each finds, hands to a prompt, and costs, on real histories."""
