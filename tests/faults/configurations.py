"""A configuration that is good, to be broken."""

GOOD = """
name = "good"
rounds = 3
[data]
name = "fashion-mnist"
[data.partition]
name = "dirichlet"
clients = 10
alpha = 0.3
[model]
name = "logistic"
[strategy]
name = "fedadam"
"""
