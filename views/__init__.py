"""What the topics and the store tell: story, tail, status."""
