"""What is sealed opens with its key only, and the key file belongs to its owner alone."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eye_dx_core.errors import BadSettings
from eye_dx_core.vault import Vault, new_key, read_keys, write_keys

PROJECT = Path(__file__).parents[2]


@given(st.binary(max_size=5_000))
def test_what_is_sealed_comes_back_and_never_looks_the_same(content: bytes):
    vault = Vault([new_key()])
    first, second = vault.seal(content), vault.seal(content)

    assert first != second
    assert (vault.unseal(first), vault.unseal(second)) == (content, content)
    assert len(content) < 8 or content not in first


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_changed_byte_is_noticed(content: bytes, data: st.DataObject):
    vault = Vault([new_key()])
    sealed = bytearray(vault.seal(content))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(BadSettings, match="put the key back"):
        vault.unseal(bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 12, b"x" * 27])
def test_what_was_never_sealed_is_refused(sealed: bytes):
    with pytest.raises(BadSettings):
        Vault([new_key()]).unseal(sealed)


def test_an_older_key_still_opens_what_it_sealed():
    old, new = new_key(), new_key()

    assert Vault([new, old]).unseal(Vault([old]).seal("测试甲")) == "测试甲".encode()


@pytest.mark.parametrize("keys", [[], ["short"], ["ä" * 44], ["AAAA" * 20]])
def test_a_malformed_key_is_refused_and_not_repeated(keys: list[str]):
    with pytest.raises(BadSettings) as caught:
        Vault(keys)

    assert all(key not in str(caught.value) for key in keys)


def test_a_missing_key_file_is_made_for_its_owner_only(tmp_path: Path):
    keys = read_keys(tmp_path / "new" / "vault.key")

    assert read_keys(tmp_path / "new" / "vault.key") == keys
    assert stat.S_IMODE((tmp_path / "new" / "vault.key").stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["vault.key"]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path):
    file = tmp_path / "vault.key"
    write_keys(file, [new_key()])
    file.chmod(0o640)

    with pytest.raises(BadSettings, match="chmod 600"):
        read_keys(file)


def test_an_empty_key_file_is_no_reason_for_a_new_key(tmp_path: Path):
    (tmp_path / "vault.key").touch(mode=0o600)

    with pytest.raises(BadSettings, match="empty"):
        read_keys(tmp_path / "vault.key")


def test_processes_that_start_together_end_with_one_key(tmp_path: Path):
    script = "import sys; from pathlib import Path; from eye_dx_core.vault import read_keys; print(read_keys(Path(sys.argv[1]))[0])"
    command = [sys.executable, "-c", script, str(tmp_path / "vault.key")]
    starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) for _ in range(4)]

    assert len({process.communicate()[0] for process in starting}) == 1


def test_what_is_derived_is_the_same_for_one_key_and_purpose_only():
    key, other = new_key(), new_key()

    assert Vault([key]).derive("cookies") == Vault([key, other]).derive("cookies")
    assert len({Vault([key]).derive("cookies"), Vault([key]).derive("links"), Vault([other]).derive("cookies")}) == 3
