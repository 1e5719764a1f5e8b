"""The server's side of a secure aggregation round: it forwards messages and computes the sum.

Each `add_...` checks a client's answer and raises `Refused` if it is not valid:
the caller then drops that client by name, and the round continues without it.
The methods between them raise `Refused` if too few clients are left: the round
has then failed.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import final

from hedgerow.ring.vector import RingSum, RingVector, Shape
from hedgerow.secure import errors
from hedgerow.secure.lists import check_names
from hedgerow.secure.masks import Masker, pair_key, self_key
from hedgerow.secure.messages import (
    Advert,
    Adverts,
    Box,
    Delivery,
    Masked,
    Names,
    Received,
    Revealed,
    Setup,
    Shares,
    Signed,
    Signer,
    Survivors,
    Unmask,
    commitment,
    seed_commitment,
)
from hedgerow.secure.primitives import Agreement, verify
from hedgerow.secure.register import Register
from hedgerow.secure.shamir import SHARE_BYTES, combine

_PROBE = Agreement(bytes(range(32)))
"""A key agreement with it fails only for keys of low order, which would stop every client."""


@final
class SecureRound:
    """One round, from `Setup` to the sum.

    Args:
        setup: as sent to the clients.
        shape: shape of the vectors.
        register: known identities; `None` leaves checking them to the clients.
    """

    def __init__(self, setup: Setup, shape: Shape, register: Register | None = None) -> None:
        self._setup, self._register = setup, register
        self._adverts: dict[str, Advert] = {}
        self._shares: dict[str, Shares] = {}
        self._alive: set[str] = set()
        self._signed: dict[str, bytes] = {}
        self._of_seed: dict[str, dict[int, bytes]] = {}
        self._of_key: dict[str, dict[int, bytes]] = {}
        self._revealed: set[str] = set()
        self.sum = RingSum(shape)

    def add_advert(self, name: str, advert: Advert) -> None:
        """Accept a client's keys."""
        self._once(name, self._adverts, self._setup.members)
        if advert.name != name:
            raise errors.WrongIdentity(f"the keys are signed by {advert.name!r}, but {name!r} was asked")
        if self._register is not None:
            self._register.check(name, advert.identity)
        verify(advert.identity, advert.signature, advert.signed(self._setup.session), name)
        mine = {advert.mask_key, advert.share_key}
        for key in mine:
            _PROBE.with_(key)
        taken = {k for a in self._adverts.values() for k in (a.mask_key, a.share_key)}
        if len(mine) < 2 or mine & taken or advert.identity in {a.identity for a in self._adverts.values()}:
            raise errors.KeysChanged("the keys are another client's; each must have its own")
        self._adverts[name] = advert

    @cached_property
    def adverts(self) -> Adverts:
        """The keys of all clients that sent some; further ones are not accepted."""
        self._enough(len(self._adverts), "have sent keys")
        return Adverts(self._setup.session, tuple(self._adverts[name] for name in sorted(self._adverts)))

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {advert.name: place for place, advert in enumerate(self.adverts.adverts, 1)}

    def add_shares(self, name: str, shares: Shares) -> None:
        """Accept a client's sealed shares."""
        self._once(name, self._shares, tuple(self._adverts))
        self._check_keys(shares.keys)
        recipients = tuple(box.recipient for box in shares.boxes)
        check_names(recipients, "neighbours", among=tuple(self._adverts))
        wanted = min(self._setup.neighbours, len(self._adverts) - 1)
        if name in recipients or len(recipients) != wanted:
            raise errors.TooFewNeighbours(f"it has {len(recipients)} neighbours; {wanted} others are needed")
        self._shares[name] = shares

    @cached_property
    def sharers(self) -> Names:
        """The clients that have shared; further ones are not accepted."""
        self._enough(len(self._shares), "have shared")
        return tuple(sorted(self._shares))

    @cached_property
    def _boxes(self) -> Mapping[str, Mapping[str, Box]]:
        """`{sender: {recipient: box}}` for all sharers."""
        return {name: {box.recipient: box for box in self._shares[name].boxes} for name in self.sharers}

    def delivery(self, name: str) -> Delivery:
        """What one of the sharers receives before it masks."""
        received = tuple(
            Received(self._adverts[sender], self._boxes[sender][name])
            for sender in self.sharers
            if name in self._boxes[sender]
        )
        return Delivery(self.adverts.keys, self.sharers, received)

    def add_masked(self, name: str, masked: Masked, vector: RingVector) -> None:
        """Add a client's masked vector to the sum."""
        self._once(name, self._alive, self.sharers)
        self._check_keys(masked.keys)
        ring = self.sum.shape.ring
        top = (1 << ring.bits) - 1
        if vector.values.dtype == ring.dtype and int(vector.values.max(initial=0)) > top:
            raise errors.OutOfRing(f"a value is above {top}; the ring has {ring.bits} bits")
        try:
            self.sum.add(vector)
        except ValueError as error:
            raise errors.WrongShape(str(error)) from error
        self._alive.add(name)

    @cached_property
    def survivors(self) -> Survivors:
        """The clients that have sent a masked vector; further ones are not accepted."""
        self._enough(len(self._alive), "have sent masked vectors")
        dead = tuple(name for name in self.sharers if name not in self._alive)
        return Survivors(self.adverts.keys, tuple(sorted(self._alive)), dead)

    def add_signature(self, name: str, signed: Signed) -> None:
        """Accept a survivor's signature of the list."""
        self._once(name, self._signed, self.survivors.alive)
        self._check_keys(signed.keys)
        verify(self._adverts[name].identity, signed.signature, self.survivors.signed(), name)
        self._signed[name] = signed.signature

    @cached_property
    def unmask(self) -> Unmask:
        """The list, with exactly as many signatures as are needed."""
        self._enough(len(self._signed), "have signed the list of survivors")
        signers = sorted(self._signed)[: self._setup.survivors]
        return Unmask(self.survivors, tuple(Signer(name, self._signed[name]) for name in signers))

    def add_revealed(self, name: str, revealed: Revealed) -> None:
        """Accept the shares that a client reveals."""
        self._once(name, self._revealed, tuple(self._signed))
        self._check_keys(revealed.keys)
        owners = tuple(share.owner for share in revealed.shares)
        check_names(owners, "owners", among=self.sharers)
        place, alive = self._places[name], set(self.survivors.alive)
        for share in revealed.shares:
            what, expected = ("mask key", 1) if share.owner not in alive else ("self mask", 0)
            box = self._boxes[share.owner].get(name)
            if box is None or share.of_dead != expected or len(share.value) != SHARE_BYTES:
                raise errors.BadShare(f"it has no {what} share of {share.owner!r} to reveal")
            told = box.committed.mask_key if expected else box.committed.self_mask
            made = commitment(self.adverts.keys, share.owner, name, what, share.value)
            if told != made:
                raise errors.BadShare(f"its share of {share.owner!r} does not match the commitment")
        for share in revealed.shares:
            into = self._of_seed if share.owner in alive else self._of_key
            into.setdefault(share.owner, {})[place] = share.value
        self._revealed.add(name)

    def unmasked(self) -> RingSum:
        """The sum of the survivors' vectors, without any mask.

        Raises:
            TooFewShares: a mask cannot be removed; the sum is lost.
            BadShare: a client's shares do not match its commitments.
        """
        seeds = {name: self._seed(name) for name in self.survivors.alive}
        secrets = {name: self._mask_secret(name) for name in self.survivors.dead}
        masker = Masker(self.sum.shape)
        vector = RingVector(self.sum.values, self.sum.words)
        keys = self.adverts.keys
        for name, seed in seeds.items():
            masker.subtract(vector, self_key(seed, keys, name))
        for name, secret in secrets.items():
            own = Agreement(secret)
            for other in self.survivors.alive:
                if other in self._boxes[name] or name in self._boxes[other]:
                    key = pair_key(own, self._adverts[other].mask_key, keys, name, other)
                    masker.pair(vector, key, other, name, undo=True)
        self.sum.shape.ring.reduced(self.sum.values)
        return self.sum

    def _seed(self, name: str) -> bytes:
        seed = self._secret(name, self._of_seed)
        if seed_commitment(self.adverts.keys, name, seed) != self._shares[name].self_mask:
            raise errors.BadShare(f"the shares of {name!r} do not match the self mask that it committed to")
        return seed

    def _mask_secret(self, name: str) -> bytes:
        secret = self._secret(name, self._of_key)
        if Agreement(secret).public != self._adverts[name].mask_key:
            raise errors.BadShare(f"the shares of {name!r} do not match its mask key")
        return secret

    def _secret(self, name: str, shares: Mapping[str, Mapping[int, bytes]]) -> bytes:
        found, needed = shares.get(name, {}), self._setup.threshold
        if len(found) < needed:
            raise errors.TooFewShares(
                f"{len(found)} shares of {name!r} are left; {needed} are needed to remove its mask"
            )
        secret = combine({place: found[place] for place in sorted(found)[:needed]})
        if secret is None:
            raise errors.BadShare(f"the shares of {name!r} do not combine to a key")
        return secret

    def _once(self, name: str, done: Mapping[str, object] | set[str], asked: Names) -> None:
        if name not in asked:
            raise errors.NotAMember(f"{name!r} was not asked at this stage")
        if name in done:
            raise errors.AlreadyAnswered(f"{name!r} has answered this stage already")

    def _check_keys(self, keys: bytes) -> None:
        if keys != self.adverts.keys:
            raise errors.StaleRound("the answer is for another run, round, model or set of keys")

    def _enough(self, number: int, what: str) -> None:
        if number < self._setup.survivors:
            raise errors.TooFewSurvivors(
                f"{number} of {len(self._setup.members)} clients {what}; {self._setup.survivors} are needed"
            )
