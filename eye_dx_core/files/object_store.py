"""The door to object stores that speak the S3 protocol (AWS, MinIO, Ceph and others), by fsspec; and finished files in one."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import fsspec

from eye_dx_core.errors import EyeDxError, FilesUnavailable, NotFound

ObjectStore = fsspec.AbstractFileSystem


def open_store(endpoint: str | None, *, connect_seconds: float = 5.0, silence_seconds: float = 10.0) -> ObjectStore:
    """An S3-compatible object store, with the credentials that the usual AWS variables and files name; nothing is sent yet.

    Raises:
        ImportError: the extra `s3` is not installed.
    """
    # When told to say everything, they write every address to the log.
    for name in ("aiobotocore", "botocore", "s3fs"):
        logging.getLogger(name).setLevel(logging.WARNING)
    limits = {"connect_timeout": connect_seconds, "read_timeout": silence_seconds, "retries": {"total_max_attempts": 1}}
    # An instance of our own: fsspec's shared ones keep the credentials of whoever was first.
    store: Any = fsspec.filesystem("s3", endpoint_url=endpoint, config_kwargs=limits, use_listings_cache=False, skip_instance_cache=True)
    store.retries = 2  # of five silent ones somebody waits for a minute, and all that we do is tried again later
    return store


class ObjectFiles:
    """The port `FileStore` below a prefix of a bucket.

    Args:
        store: any file system of fsspec in which a file appears when it is whole, as an object does.
        place: bucket, or bucket and prefix.
    """

    def __init__(self, store: ObjectStore, place: str) -> None:
        self._store, self._place = store, place.strip("/")

    def read(self, name: str) -> bytes:
        """See the port."""
        with self._asking():
            try:
                return cast("bytes", self._store.cat_file(self._path(name)))
            except FileNotFoundError:
                self._find_bucket()
                raise NotFound(f"there is no {name}") from None

    def write(self, name: str, content: bytes) -> None:
        """See the port."""
        with self._asking():
            self._store.pipe_file(self._path(name), content)

    def delete(self, name: str) -> None:
        """See the port. A bucket that keeps old versions keeps this one too, until its own rule is over."""
        with self._asking():
            try:
                self._store.rm_file(self._path(name))
            except FileNotFoundError:
                self._find_bucket()

    def sizes(self, folder: str) -> Mapping[str, int]:
        """See the port."""
        with self._asking():
            self._find_bucket()
            found = cast("dict[str, dict[str, Any]]", self._store.find(self._path(folder), detail=True))
            return {self._name(path): int(one["size"]) for path, one in found.items()}

    def check(self) -> None:
        """See the port."""
        with self._asking():
            self._find_bucket()

    def address(self, name: str) -> str:
        """See the port."""
        return str(self._store.unstrip_protocol(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._place}/{name}"

    def _name(self, path: str) -> str:
        return path.lstrip("/").removeprefix(f"{self._place}/")

    def _find_bucket(self) -> None:
        """Without a bucket nothing is there either, and that must not pass for "deleted"."""
        self._store.info(self._place.partition("/")[0])

    @contextmanager
    def _asking(self) -> Generator[None]:
        try:
            yield
        except EyeDxError:
            raise
        except FileNotFoundError:
            raise FilesUnavailable("there is no such bucket as EYE_DX_FILES_URL names") from None
        except PermissionError:
            raise FilesUnavailable(
                "the object store of EYE_DX_FILES_URL refuses us: may these credentials read, write and delete?"
            ) from None
        except Exception as error:  # noqa: BLE001 - each layer below has its own errors, and their texts hold addresses
            raise FilesUnavailable(f"the object store of EYE_DX_FILES_URL did not do it ({type(error).__name__})") from None
