"""Client certificates and CAs: renewed under a running process, damaged, missing."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.probes.certificates import FileProblem, read_der, read_pem
from foundation.probes.credentials import Credentials

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.servers.certificates import Authority

DER = serialization.Encoding.DER


def _sound() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bbs.service.cf.internal")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begins, begins + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("bbs"), x509.IPAddress(ip_address("127.0.0.1"))])
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(DER)


SOUND = _sound()


def test_contexts_are_kept_while_the_files_stay(authority: Authority, tmp_path: Path) -> None:
    files = authority.write_client(tmp_path)
    credentials = Credentials(files.ca, files.cert, files.key)
    first, problem = credentials.current()
    assert problem is None
    assert first.presents
    assert first.verifies
    assert credentials.current()[0] is first


def test_a_renewed_certificate_is_taken_up(authority: Authority, tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    files = authority.write_client(tmp_path, not_after=ends)
    credentials = Credentials(files.ca, files.cert, files.key)
    before = credentials.current()[0]
    assert before.certificate is not None
    assert before.certificate.not_after == ends.timestamp()
    assert before.certificate.names == ("diego-client",)
    authority.write_client(tmp_path, not_after=ends + timedelta(days=90))
    for file in (files.cert, files.key):
        os.utime(file, ns=(1, 1))
    after = credentials.current()[0]
    assert after is not before
    assert credentials.certificate is not None
    assert credentials.certificate.not_after == (ends + timedelta(days=90)).timestamp()


def test_a_damaged_renewal_keeps_the_old_and_says_so(authority: Authority, tmp_path: Path) -> None:
    files = authority.write_client(tmp_path)
    credentials = Credentials(files.ca, files.cert, files.key)
    good = credentials.current()[0]
    key = files.key.read_bytes()
    files.key.unlink()
    contexts, problem = credentials.current()
    assert contexts is good
    assert problem == FileProblem(str(files.key), "No such file or directory")
    assert credentials.pem() is None
    files.key.write_bytes(key)
    assert credentials.problem is None
    assert credentials.current()[0] is not good


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_missing_file_is_named(authority: Authority, tmp_path: Path, missing: str) -> None:
    files = authority.write_client(tmp_path)
    gone: Path = getattr(files, missing)
    gone.unlink()
    contexts, problem = Credentials(files.ca, files.cert, files.key).current()
    assert str(problem) == f"{gone}: No such file or directory"
    assert not contexts.presents


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ("ca", "holds no PEM certificate"),
        ("cert", "holds no PEM certificate"),
        ("key", "no usable, unencrypted PEM key"),
    ],
)
def test_a_damaged_file_is_named(authority: Authority, tmp_path: Path, damaged: str, words: str) -> None:
    files = authority.write_client(tmp_path)
    bad: Path = getattr(files, damaged)
    bad.write_bytes(b"\xff not PEM\n")
    problem = Credentials(files.ca, files.cert, files.key).problem
    assert problem is not None
    assert problem.file == str(bad)
    assert words in problem.message


def test_a_key_of_another_certificate(authority: Authority, tmp_path: Path) -> None:
    files, other = authority.write_client(tmp_path / "a"), authority.write_client(tmp_path / "b")
    problem = Credentials(files.ca, files.cert, other.key).problem
    assert str(problem) == f"{other.key}: is not the key of the certificate in {files.cert}"


def test_an_encrypted_key_asks_nobody(authority: Authority, tmp_path: Path) -> None:
    files = authority.write_client(tmp_path)
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    problem = Credentials(files.ca, files.cert, files.key).problem
    assert problem is not None
    assert problem.file == str(files.key)
    assert "unencrypted" in problem.message


def test_a_directory_is_no_file(authority: Authority, tmp_path: Path) -> None:
    files = authority.write_client(tmp_path)
    assert Credentials(tmp_path, files.cert, files.key).problem == FileProblem(str(tmp_path), "Is a directory")


def test_a_key_without_certificate_is_a_mistake(authority: Authority, tmp_path: Path) -> None:
    files = authority.write_client(tmp_path)
    problem = Credentials(files.ca, None, files.key).problem
    assert problem is not None
    assert "set cert_file" in problem.message


def test_a_key_in_the_certificates_file(authority: Authority, tmp_path: Path) -> None:
    files = authority.write_client(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
    credentials = Credentials(files.ca, both)
    assert credentials.problem is None
    assert credentials.current()[0].presents
    assert credentials.pem() == (files.ca.read_bytes(), both.read_bytes(), both.read_bytes())


def test_nothing_configured_is_no_problem() -> None:
    contexts, problem = Credentials().current()
    assert problem is None
    assert not contexts.presents
    assert not contexts.verifies
    assert Credentials().pem() is None


def test_reading_pem_and_der(tmp_path: Path) -> None:
    empty, damaged, malformed = tmp_path / "empty", tmp_path / "damaged", tmp_path / "malformed"
    empty.write_bytes(b"")
    damaged.write_bytes(b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n")
    malformed.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert read_pem(empty) == FileProblem(str(empty), "holds no PEM certificate")
    assert read_pem(damaged) == FileProblem(str(damaged), "holds a damaged PEM certificate")
    assert read_pem(malformed) == FileProblem(str(malformed), "holds a malformed certificate")
    assert read_pem(tmp_path / "none") == FileProblem(str(tmp_path / "none"), "No such file or directory")
    assert read_der(b"nothing") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no PEM certificate"),
        (b"\n", "holds no PEM certificate"),
        (b"\x00\xff" * 500, "holds no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no PEM certificate"),
        (b"#" * ((1 << 20) + 1), "is longer than 1048576 bytes"),
    ],
)
def test_a_ca_file_of_no_use_is_a_problem_and_no_crash(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    contexts, problem = Credentials(file).current()
    assert str(problem) == f"{file}: {words}"
    assert not contexts.verifies


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_no_regular_file_is_not_opened(authority: Authority, tmp_path: Path, which: int) -> None:
    """A pipe without a writer would hold the probe for ever, and /dev/zero does not end."""
    files = authority.write_client(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for odd, words in ((tmp_path / "pipe", "is no regular file"), (tmp_path, "Is a directory")):
        paths = [files.ca, files.cert, files.key]
        paths[which] = odd
        assert Credentials(*paths).problem == FileProblem(str(odd), words)


def test_paths_that_can_be_none_are_problems() -> None:
    assert str(Credentials("a\0b").problem) == "a b: embedded null byte"
    assert str(Credentials(None, "a\0b", "c").problem) == "a b: embedded null byte"
    assert str(read_pem("a\0b")) == "a b: embedded null byte"


def test_what_a_stranger_writes_into_a_certificate_stays_on_one_line() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bbs\n\x1b[2Jhealthy")])
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(f"host-{number}") for number in range(500)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begins, begins + timedelta(days=1))
    found = read_der(builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(DER))
    assert found is not None
    assert (found.subject, found.issuer) == ("CN=bbs [2Jhealthy", "CN=bbs [2Jhealthy")
    assert len(found.names) == 100


@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=4))
@settings(max_examples=150, deadline=None)
def test_no_damaged_certificate_raises(cut: int, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(SOUND[: len(SOUND) - cut] if cut < 50 else SOUND)
    for at, change in flips:
        damaged[at % len(damaged)] ^= change
    read_der(bytes(damaged))
