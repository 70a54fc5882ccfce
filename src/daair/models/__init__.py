"""The networks: DaAIR (layers, experts, router, dale and daair), and its peers, one file each."""
