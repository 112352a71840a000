"""What the processes share: settings, Kafka, the embedded broker, logs, metrics, the command line."""
