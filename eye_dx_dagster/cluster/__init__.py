"""Runs on Celery workers, on as many machines as there are, over the RabbitMQ that screenings come by."""
