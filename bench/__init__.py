"""What the agent costs, measured. Nothing here is a test: figures depend on the machine, so runs come in pairs."""
