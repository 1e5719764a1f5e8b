"""The certificates of a federation: its own CA, made at first use, and those that it issues."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.files import PRIVATE, locked, write_whole

_CA_DAYS, _DAYS, _RENEW_DAYS = 3650, 397, 30
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A TLS context for a server with this certificate, TLS 1.2 or newer; raises `FederationError`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Load it into a context for new connections; raises `FederationError`, and then changes nothing."""
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise FederationError(
                f"the certificate {self.certificate} with the key {self.key} cannot be used: {error}"
            ) from error

    @property
    def stamp(self) -> tuple[int, ...]:
        """A value that changes when one of the files does; empty if one is missing."""
        try:
            return tuple(part for file in (self.certificate, self.key)
                         for part in (file.stat().st_mtime_ns, file.stat().st_ino))  # fmt: skip
        except OSError:
            return ()

    @property
    def ends(self) -> datetime.datetime:
        """When it expires; raises `OSError` and `ValueError`."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).not_valid_after_utc


def check_given(given: Certificate, host: str) -> None:
    """Check a certificate that devices shall be shown at a host.

    Raises:
        FederationError: it does not fit its key, is not valid now, or does not name the host.
    """
    given.context()
    found = x509.load_pem_x509_certificate(given.certificate.read_bytes())
    now, begins, ends = datetime.datetime.now(datetime.UTC), found.not_valid_before_utc, given.ends
    if now >= ends:
        raise FederationError(
            f"the certificate {given.certificate} expired on {ends:%d %B %Y}; give a new one"
        )
    if now < begins:
        raise FederationError(
            f"the certificate {given.certificate} is valid from {begins:%d %B %Y, %H:%M} UTC on; is this"
            " machine's clock right?"
        )
    names = _named(found)
    if not any(_stands_for(name, host) for name in names):
        raise FederationError(
            f"the certificate {given.certificate} names {', '.join(names) or 'no host'}, and devices reach"
            f" this machine at {host}; give --host one of its names, or a certificate for {host}"
        )


def issuer(found: Certificate) -> str:
    """Who signed a certificate, in words; raises `OSError` and `ValueError`."""
    return x509.load_pem_x509_certificate(found.certificate.read_bytes()).issuer.rfc4514_string()


def authority(folder: FederationFolder) -> Certificate:
    """The federation's CA, created if missing. Its key never leaves the folder.

    Raises:
        FederationError: there is one that cannot be used; devices accept no other.
    """
    found = Certificate(folder.path / "ca.pem", folder.path / "ca.key")
    if found.certificate.exists():
        _opened(found)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Hedgerow federation {folder.settings.federation}")
        made = (
            _builder(name, name, key.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _save(found, made, key)
    return found


def _opened(authority: Certificate) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A CA's certificate and key; raises `FederationError` if one is damaged."""
    try:
        certificate = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
        certificate.verify_directly_issued_by(certificate)
        key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
        if key.public_key() != certificate.public_key():
            raise ValueError("they do not belong together")
    except Exception as error:  # cryptography raises many kinds
        raise FederationError(
            f"{authority.certificate} and {authority.key.name} cannot be used: {error}; restore them from a"
            " copy, because devices know the federation by them"
        ) from error
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificate, key


def certified(folder: FederationFolder, name: str, hosts: tuple[str, ...]) -> Certificate:
    """A certificate from the federation's CA for a server that is reached at these hosts.

    An existing one is kept, unless it is for other hosts, from another CA, or
    expires within 30 days.
    """
    with locked(folder.path / "certificates.lock"):  # the gateway and a command may renew at the same time
        return _certified(folder, name, hosts)


def _certified(folder: FederationFolder, name: str, hosts: tuple[str, ...]) -> Certificate:
    found = Certificate(folder.path / f"{name}.pem", folder.path / f"{name}.key")
    signed_by, signer = _opened(authority(folder))
    if _stands(found, signed_by, hosts):
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        _builder(_name(hosts[0]), signed_by.subject, key.public_key(), _DAYS)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    _save(found, made, key)
    return found


def gateway_certificate(folder: FederationFolder) -> Certificate:
    """The gateway's certificate: the one given to `hedgerow up`, or one from the federation's CA.

    The latter is reissued if it is missing, for other hosts, or expires soon.
    """
    settings = folder.settings
    if not settings.own_ca:
        return shown(folder)
    return certified(folder, "server", tuple(dict.fromkeys((settings.host, *LOOPBACK))))


def shown(folder: FederationFolder) -> Certificate:
    """The files of the gateway's certificate; creates nothing."""
    if folder.settings.own_ca:
        return Certificate(folder.path / "server.pem", folder.path / "server.key")
    given = folder.read("certificate.json", {})
    return Certificate(Path(given["certificate"]), Path(given["key"]))


def _named(found: x509.Certificate) -> list[str]:
    """Names and addresses of the hosts that a certificate is for."""
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:  # a common name alone is no host's name to browsers
        return []
    hosts = [*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)]
    return [str(host).lower() for host in hosts]


def _stands_for(name: str, host: str) -> bool:
    """Whether a name in a certificate, perhaps with a star for its first label, stands for a host."""
    host = host.lower().rstrip(".")
    if name.startswith("*."):
        first, _, rest = host.partition(".")
        return bool(first) and isinstance(_host(host), x509.DNSName) and rest == name[2:]
    return name == (str(ipaddress.ip_address(host)) if isinstance(_host(host), x509.IPAddress) else host)


def _stands(found: Certificate, issuer: x509.Certificate, hosts: tuple[str, ...]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        certificate.verify_directly_issued_by(issuer)
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = serialization.load_pem_private_key(found.key.read_bytes(), None)
    except Exception:  # missing, unreadable or from another CA: a new one is issued
        return False
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return (
        key.public_key() == certificate.public_key()
        and left > datetime.timedelta(days=_RENEW_DAYS)
        and set(named) == {_host(host) for host in hosts}
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # devices without a clock battery
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _save(place: Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    # The key first: a certificate that does not match its key is reissued, not served.
    write_whole(place.key, key.private_bytes(serialization.Encoding.PEM, *form), mode=PRIVATE)
    write_whole(place.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=PRIVATE)
