"""The embedded queue: a table with leases, in SQLite or PostgreSQL. Measured libraries lose or double messages on SIGKILL."""

import json
import time
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from eye_dx_core.errors import StaleDelivery
from eye_dx_core.queue.port import DELIVERY_LIMIT_REASON, DeadLetter, Delivery, Message
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.engine import database_errors, open_engine, reading, writing

_metadata = MetaData()

# SQLite gives out row ids only to a plain INTEGER key.
_messages = Table(
    "queue_messages",
    _metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("queue", String(256), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("properties", Text, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("token", String(32)),
    Column("claimed_until", Float, nullable=False),
    Column("died_in", String(256)),
    Column("reason", Text),
    Column("died_at", Float),
    Index("ix_queue_messages_queue_position", "queue", "position"),
)


class SqlQueue:
    """The port `Queue` by SQLAlchemy. A message is a row; a claim is a token and a time in it; an ack deletes it."""

    def __init__(self, url: str, *, names: QueueNames, lease_seconds: float = 120, delivery_limit: int = 5) -> None:
        self._names, self._lease_seconds, self._delivery_limit = names, lease_seconds, delivery_limit
        self._engine = open_engine(url)
        with database_errors("queue"), writing(self._engine) as connection:
            if self._engine.dialect.name == "postgresql":
                # CREATE TABLE IF NOT EXISTS still collides when two processes start together.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7302212)")
            _metadata.create_all(connection)

    def declare(self, queue: str) -> None:
        """Every name is a queue here."""

    def publish(self, queue: str, message: Message) -> None:
        """See the port."""
        with database_errors("queue"), writing(self._engine) as connection:
            _add(connection, queue, message)

    def receive(self, queue: str, *, limit: int) -> tuple[Delivery, ...]:
        """See the port."""
        now, token = time.time(), uuid4().hex
        free = (
            select(_messages.c.position, _messages.c.deliveries)
            .where(_messages.c.queue == queue, _messages.c.claimed_until <= now)
            .order_by(_messages.c.position)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with database_errors("queue"), writing(self._engine) as connection:
            rows = connection.execute(free).all()
            spent = [row.position for row in rows if row.deliveries >= self._delivery_limit]
            taken = [row.position for row in rows if row.deliveries < self._delivery_limit]
            _bury(connection, spent, queue=queue, dead=self._names.dead, reason=DELIVERY_LIMIT_REASON)
            claim = update(_messages).where(_messages.c.position.in_(taken))
            connection.execute(claim.values(token=token, claimed_until=now + self._lease_seconds, deliveries=_messages.c.deliveries + 1))
            claimed = connection.execute(select(_messages).where(_messages.c.position.in_(taken)).order_by(_messages.c.position))
            return tuple(
                Delivery(
                    queue=queue,
                    message=_to_message(row.body, row.properties),
                    token=f"{row.position}:{row.token}",
                    delivery_count=row.deliveries,
                )
                for row in claimed
            )

    def ack(self, delivery: Delivery) -> None:
        """See the port."""
        with database_errors("queue"), writing(self._engine) as connection:
            connection.execute(delete(_messages).where(_messages.c.position == self._position(connection, delivery)))

    def retry(self, delivery: Delivery) -> None:
        """See the port."""
        with database_errors("queue"), writing(self._engine) as connection:
            position = self._position(connection, delivery)
            connection.execute(update(_messages).where(_messages.c.position == position).values(claimed_until=0.0, token=None))

    def reject(self, delivery: Delivery, *, reason: str) -> None:
        """See the port."""
        with database_errors("queue"), writing(self._engine) as connection:
            position = self._position(connection, delivery)
            _bury(connection, [position], queue=delivery.queue, dead=self._names.dead, reason=reason)

    def depth(self, queue: str) -> int:
        """See the port."""
        free = select(func.count()).where(_messages.c.queue == queue, _messages.c.claimed_until <= time.time())
        with database_errors("queue"), reading(self._engine) as connection:
            return connection.execute(free).scalar_one()

    def dead_letters(self, *, limit: int) -> tuple[DeadLetter, ...]:
        """See the port."""
        oldest = select(_messages).where(_messages.c.queue == self._names.dead).order_by(_messages.c.died_at).limit(limit)
        with database_errors("queue"), reading(self._engine) as connection:
            return tuple(
                DeadLetter(
                    message=_to_message(row.body, row.properties),
                    queue=row.died_in,
                    reason=row.reason,
                    died_at=datetime.fromtimestamp(row.died_at, UTC),
                )
                for row in connection.execute(oldest)
            )

    def replay_dead_letters(self, *, limit: int) -> int:
        """See the port."""
        oldest = select(_messages).where(_messages.c.queue == self._names.dead).order_by(_messages.c.died_at).limit(limit)
        with database_errors("queue"), writing(self._engine) as connection:
            rows = connection.execute(oldest.with_for_update(skip_locked=True)).all()
            for row in rows:
                _add(connection, row.died_in, _to_message(row.body, row.properties))
            connection.execute(delete(_messages).where(_messages.c.position.in_([row.position for row in rows])))
            return len(rows)

    def close(self) -> None:
        """See the port."""
        self._engine.dispose()

    def _position(self, connection: Connection, delivery: Delivery) -> int:
        """Row of a delivery that is still held by its token, locked for this transaction."""
        position, _, token = delivery.token.partition(":")
        held = select(_messages.c.position).where(
            _messages.c.position == int(position), _messages.c.token == token, _messages.c.claimed_until > time.time()
        )
        found = connection.execute(held.with_for_update()).scalar()
        if found is None:
            raise StaleDelivery("the lease of this message ran out, or it is settled already")
        return found


def _add(connection: Connection, queue: str, message: Message) -> None:
    properties = message.model_dump_json(exclude={"body"})
    row = {"queue": queue, "body": message.body, "properties": properties, "deliveries": 0, "claimed_until": 0.0}
    connection.execute(insert(_messages).values(row))


def _bury(connection: Connection, positions: list[int], *, queue: str, dead: str, reason: str) -> None:
    buried = {"queue": dead, "died_in": queue, "reason": reason, "died_at": time.time(), "token": None, "claimed_until": 0.0}
    connection.execute(update(_messages).where(_messages.c.position.in_(positions)).values(buried | {"deliveries": 0}))


def _to_message(body: bytes, properties: str) -> Message:
    return Message.model_validate(json.loads(properties) | {"body": body})
