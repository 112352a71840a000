"""The receiver: answers ServiceTrade once a webhook is durable."""
