"""Photographs in an object store that speaks the S3 protocol."""

import time
from collections.abc import Iterable
from typing import Any, cast

from eye_dx_core.dataset.photo_file import MAX_BYTES
from eye_dx_core.errors import BadPhoto, ServiceUnavailable
from eye_dx_core.files.object_store import ObjectStore
from eye_dx_core.inference.sources.allowed import BucketPrefix
from eye_dx_core.inference.sources.patience import DEFAULT_PATIENCE, Patience, Rests, ServerSilent, seconds_left

_SCHEME = "s3://"


class BucketPhotos:
    """The port `PhotoSource` over `s3://bucket/key`, as far as the allowed buckets and prefixes go.

    Args:
        allowed: buckets, or parts of them.
        store: where they are; any file system of fsspec.
        patience: how long it may take as a whole; the rest is set where the store is opened.
    """

    def __init__(self, allowed: Iterable[BucketPrefix], *, store: ObjectStore, patience: Patience = DEFAULT_PATIENCE) -> None:
        self._allowed, self._store, self._patience = tuple(allowed), store, patience
        self._rests = Rests()

    def find_photo(self, location: str) -> bytes:
        """See the port. Besides: `bucket_not_allowed`."""
        path = self._path_of(location)
        with self._rests.asking("the object store"):
            try:
                return self._read(path)
            except (BadPhoto, ServiceUnavailable):
                raise
            except FileNotFoundError:
                raise BadPhoto("missing", "the photograph is not there") from None
            except PermissionError:
                raise BadPhoto("forbidden", "the object store does not let us read the photograph") from None
            except (TimeoutError, ConnectionError):
                raise ServerSilent("the object store did not answer in time") from None
            except OSError:  # what s3fs makes of an answer that is an error
                raise ServiceUnavailable("the object store answered with an error") from None
            except Exception as error:  # noqa: BLE001 - each layer below has its own errors, and none is the photograph's fault
                raise ServerSilent(f"the object store did not answer ({type(error).__name__})") from None

    def _path_of(self, location: str) -> str:
        bucket, _, key = location.removeprefix(_SCHEME).partition("/")
        is_plain = all(part not in ("", ".", "..") for part in key.split("/")) and not any(one < " " or one == "?" for one in key)
        if not location.startswith(_SCHEME) or not is_plain or not _is_text(key):
            raise BadPhoto("unsupported_location", "only addresses such as s3://bucket/key are read")
        if not any(one.holds(bucket, key) for one in self._allowed):
            raise BadPhoto("bucket_not_allowed", "the photograph lies outside what EYE_DX_PHOTO_BUCKETS lists")
        return f"{bucket}/{key}"

    def _read(self, path: str) -> bytes:
        deadline = time.monotonic() + self._patience.total
        found: dict[str, Any] = self._store.info(path, timeout=seconds_left(deadline))
        if found["type"] != "file":
            raise BadPhoto("missing", "the photograph is not there")
        size = int(found["size"])
        if size > MAX_BYTES:
            raise BadPhoto("too_large", f"larger than {MAX_BYTES // 2**20} MiB")
        # Its range is asked for, so an object that has grown since does not come as a whole.
        content = self._store.cat_file(path, start=0, end=size, timeout=seconds_left(deadline)) if size else b""
        if len(content) != size:
            raise ServiceUnavailable("the photograph changed while it was read")
        return cast("bytes", content)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
