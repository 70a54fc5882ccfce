"""The DaAIR network, one concept a file: layers, experts, router, dale (the learner), daair."""
