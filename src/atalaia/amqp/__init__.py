"""Readings by way of RabbitMQ: the topology, the consumer, the publisher, the dead letters."""
