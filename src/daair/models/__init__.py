"""The DaAIR network, one concept a file: layers, experts, router, dale (the degradation-aware learner), control, daair."""
