"""Where the data live: tasks, trainers, and the Flower client."""
