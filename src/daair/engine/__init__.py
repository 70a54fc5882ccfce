"""The work behind the tasks: training, evaluation, restoration, measurement. A module is imported only when needed."""
