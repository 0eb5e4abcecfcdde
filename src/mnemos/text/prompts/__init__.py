"""What strategies say to a language model: prompts as versioned files beside this one, `NAME.VERSION.md`, with the form of their answers."""

from mnemos.text.prompts.aliases import Aliases
from mnemos.text.prompts.prompt import Prompt, parse_prompt, prompt, prompts

__all__ = ["Aliases", "Prompt", "parse_prompt", "prompt", "prompts"]
