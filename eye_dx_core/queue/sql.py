"""The embedded queue: a table with leases, in SQLite or PostgreSQL; bodies are sealed. Measured libraries lose or double on SIGKILL."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    inspect,
    literal,
    or_,
    select,
    update,
)

from eye_dx_core.errors import BadSettings, EyeDxError, ServiceUnavailable, StaleDelivery
from eye_dx_core.queue.port import (
    DELIVERY_LIMIT_REASON,
    MAX_DELAY_SECONDS,
    DeadLetter,
    Delivery,
    Message,
    bounded_delay,
    refuse_oversize,
)
from eye_dx_core.queue.topology import QueueNames
from eye_dx_core.records.engine import database_errors, forget_deleted_rows, open_engine, reading, writing
from eye_dx_core.vault import Vault

_metadata = MetaData()
_UNREADABLE = "sealed with another key, or damaged on the disk"

# SQLite gives out row ids only to a plain INTEGER key.
_messages = Table(
    "sealed_messages",
    _metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("queue", String(256), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("properties", Text, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("token", String(32)),
    Column("claimed_until", Float, nullable=False),
    Column("died_in", String(256)),
    Column("reason", Text),
    Column("died_at", Float),
    # Holds all that claim and depth ask for: beside a large body, a row is slow to read.
    Index("ix_sealed_messages_claim", "queue", "position", "claimed_until", "token", "deliveries"),
)


def _now() -> datetime:
    return datetime.now(UTC)


class SqlQueue:
    """The port `Queue` by SQLAlchemy. A message is a row; a claim is a token and a time in it; an ack deletes it."""

    def __init__(
        self,
        url: str,
        *,
        names: QueueNames,
        vault: Vault,
        lease_seconds: float = 120,
        delivery_limit: int = 5,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._names, self._vault, self._lease_seconds, self._now = names, vault, lease_seconds, now
        self.delivery_limit = delivery_limit
        self._engine = open_engine(url)
        try:
            _make_table_once(self._engine, vault)
        except EyeDxError:
            self._engine.dispose()
            raise
        self._file = _file_of(self._engine)
        self._identity = _identity_of(self._file)

    def declare(self, queue: str) -> None:
        """Every name is a queue here; this only asks whether the database answers."""
        self.depth(queue)

    def publish(self, queue: str, message: Message) -> None:
        """See the port."""
        refuse_oversize(message)
        with self._writing() as connection:
            self._add(connection, queue, message)

    def receive(self, queue: str, *, limit: int) -> tuple[Delivery, ...]:
        """See the port."""
        taken: list[Delivery] = []
        with self._writing() as connection:
            while len(taken) < limit:
                rows = connection.execute(self._claimable(queue, limit - len(taken))).all()
                taken += self._claim(connection, queue, [row.position for row in rows if row.deliveries < self.delivery_limit])
                spent = [row.position for row in rows if row.deliveries >= self.delivery_limit]
                if not spent:
                    break
                self._bury(connection, spent, queue=queue, reason=DELIVERY_LIMIT_REASON)
        return tuple(taken)

    def ack(self, delivery: Delivery) -> None:
        """See the port."""
        with self._writing() as connection:
            connection.execute(delete(_messages).where(_messages.c.position == self._position(connection, delivery)))

    def retry(self, delivery: Delivery, *, delay_seconds: float = 0) -> None:
        """See the port. The row is written anew, because a new row is the last of its queue."""
        delay = bounded_delay(delay_seconds)
        with self._writing() as connection:
            held = _messages.c.position == self._position(connection, delivery)
            kept = [_messages.c[name] for name in ("queue", "sealed", "properties", "deliveries")]
            free_at = literal(self._seconds() + delay if delay else 0.0)
            names = [*(column.name for column in kept), "claimed_until"]
            connection.execute(insert(_messages).from_select(names, select(*kept, free_at).where(held)))
            connection.execute(delete(_messages).where(held))

    def release(self, delivery: Delivery) -> None:
        """See the port."""
        with self._writing() as connection:
            held = _messages.c.position == self._position(connection, delivery)
            untaken = {"claimed_until": 0.0, "token": None, "deliveries": _messages.c.deliveries - 1}
            connection.execute(update(_messages).where(held).values(untaken))

    def reject(self, delivery: Delivery, *, reason: str) -> None:
        """See the port."""
        with self._writing() as connection:
            self._bury(connection, [self._position(connection, delivery)], queue=delivery.queue, reason=reason)

    def depth(self, queue: str) -> int:
        """See the port."""
        with self._reading() as connection:
            return connection.execute(self._count_free(queue)).scalar_one()

    def dead_letters(self, *, limit: int) -> tuple[DeadLetter, ...]:
        """See the port."""
        oldest = select(_messages).where(_messages.c.queue == self._names.dead).order_by(_messages.c.died_at).limit(limit)
        with self._reading() as connection:
            return tuple(
                DeadLetter(
                    message=self._to_message(row, or_empty=True),
                    queue=row.died_in,
                    reason=row.reason,
                    died_at=datetime.fromtimestamp(row.died_at, UTC),
                )
                for row in connection.execute(oldest)
            )

    def discard_dead_letters(self, *, before: datetime) -> int:
        """See the port."""
        old = (_messages.c.queue == self._names.dead) & (_messages.c.died_at < before.timestamp())
        with self._writing() as connection:
            discarded = connection.execute(delete(_messages).where(old)).rowcount
        if discarded:
            forget_deleted_rows(self._engine)
        return discarded

    def replay_dead_letters(self, *, limit: int) -> int:
        """See the port. They go as they are sealed, so that one which cannot be opened holds up no other."""
        oldest = select(_messages).where(_messages.c.queue == self._names.dead).order_by(_messages.c.died_at).limit(limit)
        with self._writing() as connection:
            rows = connection.execute(oldest.with_for_update(skip_locked=True)).all()
            for row in rows:
                again = {"queue": row.died_in, "sealed": row.sealed, "properties": row.properties, "deliveries": 0, "claimed_until": 0.0}
                connection.execute(insert(_messages).values(again))
            connection.execute(delete(_messages).where(_messages.c.position.in_([row.position for row in rows])))
            return len(rows)

    def reseal(self) -> int:
        """Seal every waiting message with the vault's first key; return how many. Not part of the port: only a disk needs it."""
        with self._writing() as connection:
            rows = connection.execute(select(_messages.c.position, _messages.c.sealed)).all()
            for row in rows:
                anew = self._vault.seal(self._vault.unseal(row.sealed))
                connection.execute(update(_messages).where(_messages.c.position == row.position).values(sealed=anew))
        forget_deleted_rows(self._engine)
        return len(rows)

    def close(self) -> None:
        """See the port."""
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Generator[Connection]:
        self._check_file()
        with database_errors("queue"), writing(self._engine) as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        self._check_file()
        with database_errors("queue"), reading(self._engine) as connection:
            yield connection

    def _check_file(self) -> None:
        """An open connection goes on in a file that has been deleted or replaced, and what it stores there is lost."""
        if _identity_of(self._file) != self._identity:
            self._engine.dispose()
            raise ServiceUnavailable("the queue's file was deleted or replaced; open the queue again")

    def _seconds(self) -> float:
        return self._now().timestamp()

    def _is_free(self) -> ColumnElement[bool]:
        """Also free is what no claim or delay of ours can have reached: then the clock went back.

        A lease more is allowed for, because the clocks of two hosts never agree to the second.
        """
        until, now, slack = _messages.c.claimed_until, self._seconds(), self._lease_seconds
        is_lapsed = and_(_messages.c.token.is_not(None), until > now + self._lease_seconds + slack)
        return or_(until <= now, is_lapsed, until > now + MAX_DELAY_SECONDS + slack)

    def _claimable(self, queue: str, limit: int) -> "Select[int, int]":
        free = select(_messages.c.position, _messages.c.deliveries).where(_messages.c.queue == queue, self._is_free())
        return free.order_by(_messages.c.position).limit(limit).with_for_update(skip_locked=True)

    def _count_free(self, queue: str) -> "Select[int]":
        return select(func.count()).select_from(_messages).where(_messages.c.queue == queue, self._is_free())

    def _claim(self, connection: Connection, queue: str, positions: list[int]) -> list[Delivery]:
        token, rows = uuid4().hex, _messages.c.position.in_(positions)
        claim = {"token": token, "claimed_until": self._seconds() + self._lease_seconds, "deliveries": _messages.c.deliveries + 1}
        connection.execute(update(_messages).where(rows).values(claim))
        claimed: list[Delivery] = []
        for row in connection.execute(select(_messages).where(rows).order_by(_messages.c.position)).all():
            try:
                message = self._to_message(row)
            except BadSettings:
                self._bury(connection, [row.position], queue=queue, reason=_UNREADABLE)
                continue
            claimed.append(Delivery(queue=queue, message=message, token=f"{row.position}:{token}", delivery_count=row.deliveries))
        return claimed

    def _position(self, connection: Connection, delivery: Delivery) -> int:
        """Row of a delivery that is still held by its token, locked for this transaction."""
        position, _, token = delivery.token.partition(":")
        held = select(_messages.c.position).where(
            _messages.c.position == int(position), _messages.c.token == token, _messages.c.claimed_until > self._seconds()
        )
        found = connection.execute(held.with_for_update()).scalar()
        if found is None:
            raise StaleDelivery("the lease of this message ran out, or it is settled already")
        return found

    def _bury(self, connection: Connection, positions: list[int], *, queue: str, reason: str) -> None:
        buried = {"queue": self._names.dead, "died_in": queue, "reason": reason, "died_at": self._seconds()}
        free = {"token": None, "claimed_until": 0.0, "deliveries": 0}
        connection.execute(update(_messages).where(_messages.c.position.in_(positions)).values(buried | free))

    def _add(self, connection: Connection, queue: str, message: Message) -> None:
        properties = message.model_dump_json(exclude={"body"})
        row = {"queue": queue, "sealed": self._vault.seal(message.body), "properties": properties, "deliveries": 0, "claimed_until": 0.0}
        connection.execute(insert(_messages).values(row))

    def _to_message(self, row: Row[Any], *, or_empty: bool = False) -> Message:
        try:
            body = self._vault.unseal(row.sealed)
        except BadSettings:
            if not or_empty:
                raise
            body = b""
        return Message.model_validate(json.loads(row.properties) | {"body": body})


def _make_table_once(engine: Engine, vault: Vault) -> None:
    """Look before taking the write lock: sensors open the queue every few seconds.

    Raises:
        BadSettings: the vault does not open what came last; a new message must not be sealed with another key.
    """
    with database_errors("queue"):
        with reading(engine) as connection:
            there = set(inspect(connection).get_table_names())
            if _messages.name in there and "queue_messages" not in there:
                newest = connection.execute(select(_messages.c.sealed).order_by(_messages.c.position.desc()).limit(1)).scalar()
                if newest is not None:
                    vault.unseal(newest)
                return
        with writing(engine) as connection:
            _make_table(connection, vault)


def _make_table(connection: Connection, vault: Vault) -> None:
    if connection.dialect.name == "postgresql":
        # CREATE TABLE IF NOT EXISTS still collides when two processes start together.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7302212)")
    _metadata.create_all(connection)
    # A table of an earlier version is left as it is by `create_all`, without the indexes that came since.
    for index in _messages.indexes:
        index.create(connection, checkfirst=True)
    if inspect(connection).has_table("queue_messages"):
        _seal_what_lay_open(connection, vault)


def _seal_what_lay_open(connection: Connection, vault: Vault) -> None:
    """Move the messages of an earlier version, which did not seal them."""
    lay_open = Table("queue_messages", MetaData(), autoload_with=connection)
    for row in connection.execute(select(lay_open).order_by(lay_open.c.position)).mappings().all():
        kept = {name: value for name, value in row.items() if name not in ("position", "body")}
        connection.execute(insert(_messages).values(kept | {"sealed": vault.seal(bytes(row["body"]))}))
    lay_open.drop(connection)


def _file_of(engine: Engine) -> Path | None:
    is_file = engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")
    return Path(engine.url.database).resolve() if is_file and engine.url.database else None


def _identity_of(file: Path | None) -> tuple[int, int] | None:
    try:
        stat = file.stat() if file else None
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino) if stat else None
