"""What travels between the processes: records, their JSON, the topics that carry them, the errors."""
