"""What the tasks do: train, evaluate, restore, profile. Each module is imported only when its task runs."""
