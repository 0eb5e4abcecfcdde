"""The faces over the network: REST, MCP and an OpenAI-compatible proxy, over one open store."""
