"""The client, where the data is: tasks, trainers, and the Flower client."""
