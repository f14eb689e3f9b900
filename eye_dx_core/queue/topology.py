"""Which queues there are, how they are bound, and which of them are ours to declare."""

from eye_dx_core.schema.frozen import Frozen

# Seconds that a message can wait before it comes again, where the broker needs a queue for each.
DELAY_STEPS = (1, 5, 20, 80, 320, 1280, 3600)


def delay_step(seconds: float) -> int:
    """The smallest step that is not shorter; 0 for no delay."""
    return next((step for step in (0, *DELAY_STEPS) if step >= seconds), DELAY_STEPS[-1])


def delay_queue(queue: str, step: int) -> str:
    """Name of the queue in which messages of `queue` wait for `step` seconds."""
    return f"{queue}_again_in_{step}s"


class Route(Frozen):
    """How a queue is reached: the queue is bound to a durable direct exchange by the routing key."""

    queue: str
    exchange: str
    routing_key: str
    is_ours: bool


class QueueNames(Frozen):
    """The queues by their purpose; the defaults are those of the mission and all are configurable."""

    exchange: str = "eye_dx_exchange"
    screenings: str = "eye_dx_screenings"
    reviews: str = "eye_dx_reviews"
    ai_results: str = "eye_dx_ai_results"
    reports: str = "eye_dx_reports"
    dead: str = "eye_dx_dead"
    flat_screenings: str = "eye_disease_detection_queue"
    flat_exchange: str = "eye_disease_detection_exchange"
    partner_screenings: str = "check_queue"
    partner_reviews: str = "report_queue"
    partner_ai_results: str = "result_check_queue"
    partner_reports: str = "result_report_queue"

    @property
    def screening_queues(self) -> tuple[str, ...]:
        """Every queue on which screenings come in."""
        return (self.screenings, self.flat_screenings, self.partner_screenings)

    @property
    def review_queues(self) -> tuple[str, ...]:
        """Every queue on which doctors' reviews come in."""
        return (self.reviews, self.partner_reviews)

    def screenings_answered_by(self, review_queue: str) -> tuple[str, ...]:
        """On which queues the cases came that reviews on this queue may mean: an id is its sender's own."""
        return (self.partner_screenings,) if review_queue == self.partner_reviews else (self.screenings, self.flat_screenings)

    def route_of(self, queue: str) -> Route:
        """How to reach a queue; an unknown name is taken as one of ours."""
        if queue == self.flat_screenings:
            return Route(queue=queue, exchange=self.flat_exchange, routing_key=queue, is_ours=False)
        if queue in (self.partner_screenings, self.partner_reviews, self.partner_ai_results, self.partner_reports):
            stem = queue.removesuffix("_queue")
            return Route(queue=queue, exchange=f"{stem}_exchange", routing_key=f"{stem}_routing_key", is_ours=False)
        return Route(queue=queue, exchange=self.exchange, routing_key=queue, is_ours=True)
