"""A client's side of a secure aggregation round: five answers, each computed from the state of the last.

No message from the server can make a client reveal a share outside the one list
of survivors it has signed, or take part under weaker settings than its own. Every
refusal is a `Refused` error.
"""

from hedgerow.ring.vector import RingVector
from hedgerow.secure import errors
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.lists import check_names
from hedgerow.secure.masks import Masker, box_key, pair_key, self_key
from hedgerow.secure.messages import (
    Advert,
    Adverts,
    Box,
    Commitments,
    Delivery,
    Masked,
    Names,
    Opened,
    Received,
    Revealed,
    Setup,
    Share,
    Shares,
    Signed,
    Survivors,
    Unmask,
    commitment,
    seed_commitment,
)
from hedgerow.secure.primitives import Agreement, Secret, open_sealed, seal, sign, verify
from hedgerow.secure.register import Party, sample
from hedgerow.secure.shamir import split
from hedgerow.secure.states import Confirmed, Contributed, Held, Joined, Shared

_LONGEST_RUN = 200


def join(party: Party, setup: Setup) -> tuple[Advert, Joined]:
    """Stage `keys`: check the server's setup, and answer with fresh keys."""
    check_names(setup.members, "members")
    if len(setup.run) > _LONGEST_RUN:  # it is kept on the disk, with those of other runs
        raise errors.Malformed(
            f"the run's name has {len(setup.run)} characters; at most {_LONGEST_RUN} are allowed"
        )
    check_purpose(party.purpose, setup)
    if party.name not in setup.members:
        raise errors.NotAMember(f"{party.name!r} was asked, but is not a member of the cohort")
    party.register.require(setup.members)
    party.register.check(party.name, party.identity)
    _check_plan(party, setup)
    mask_secret, share_secret = Secret(party.random(32)), Secret(party.random(32))
    unsigned = Advert(
        party.name, party.identity, Agreement(mask_secret).public, Agreement(share_secret).public, bytes(64)
    )
    signature = sign(party.secret, unsigned.signed(setup.session))
    advert = Advert(party.name, unsigned.identity, unsigned.mask_key, unsigned.share_key, signature)
    return advert, Joined(setup, advert, mask_secret, share_secret)


def check_purpose(purpose: str, setup: Setup) -> None:
    """Refuse a round of another purpose: what is kept of it must serve no other."""
    if setup.purpose != purpose:
        raise errors.WrongPurpose(f"the round is one of {setup.purpose!r}, and {purpose!r} is asked")


def _check_plan(party: Party, setup: Setup) -> None:
    """Refuse a setup that is weaker than this client's own settings, or does not fit its vector."""
    clients, secure = len(setup.members), party.secure
    if clients < secure.min_clients:
        raise errors.CohortTooSmall(
            f"the cohort has {clients} clients; it must have at least {secure.min_clients}"
        )
    try:
        shape, plan = party.shape(clients), secure.plan(clients)
    except ValueError as error:
        raise errors.CohortTooSmall(str(error)) from error
    if setup.neighbours != plan.neighbours:  # with more, the corrupt ones alone may reach the threshold
        raise errors.TooFewNeighbours(f"neighbours is {setup.neighbours}; it must be {plan.neighbours}")
    if not plan.threshold <= setup.threshold <= setup.neighbours:
        raise errors.ThresholdTooLow(
            f"the threshold is {setup.threshold}; it must be {plan.threshold} or more"
        )
    if not plan.survivors <= setup.survivors <= clients:
        raise errors.SurvivorFloorTooLow(
            f"survivors is {setup.survivors}; it must be {plan.survivors} or more"
        )
    wanted = shape.ring.bits, shape.length, shape.words
    if (setup.bits, setup.length, setup.words) != wanted:
        raise errors.WrongShape(
            f"the server's bits, length and words are {(setup.bits, setup.length, setup.words)}, this"
            f" client's are {wanted}; start both from the same configuration"
        )


def share(party: Party, state: Joined, message: Adverts) -> tuple[Shares, Shared]:
    """Stage `shares`: choose neighbours, and give each of them a share of two secrets."""
    _check_adverts(party, state, message)
    places = {advert.name: place for place, advert in enumerate(message.adverts, 1)}
    others = [name for name in places if name != party.name]
    chosen = sample(others, min(state.setup.neighbours, len(others)), party.random)
    neighbours = tuple(message.adverts[places[name] - 1] for name in chosen)
    for advert in neighbours:
        verify(advert.identity, advert.signature, advert.signed(state.setup.session), advert.name)
    seed, keys = Secret(party.random(32)), message.keys
    at = [places[name] for name in chosen]
    seed_shares = split(seed, at, state.setup.threshold, party.random)
    key_shares = split(state.mask_secret, at, state.setup.threshold, party.random)
    boxes, own = [], Agreement(state.share_secret)
    for advert, of_seed, of_key in zip(neighbours, seed_shares, key_shares, strict=True):
        opened = Opened(party.name, advert.name, places[advert.name], of_seed, of_key)
        key = box_key(own, advert.share_key, keys, party.name, advert.name)
        committed = Commitments(
            commitment(keys, party.name, advert.name, "self mask", of_seed),
            commitment(keys, party.name, advert.name, "mask key", of_key),
        )
        boxes.append(Box(advert.name, seal(key, encode(opened), keys), committed))
    answer = Shares(keys, seed_commitment(keys, party.name, seed), tuple(boxes))
    after = Shared(state.setup, state.advert, state.mask_secret, state.share_secret, seed, keys, neighbours)
    return answer, after


def _check_adverts(party: Party, state: Joined, message: Adverts) -> None:
    setup = state.setup
    if message.session != setup.session:
        raise errors.StaleRound("the keys are for another run, round, cohort or model than the one joined")
    names = tuple(advert.name for advert in message.adverts)
    check_names(names, "adverts", among=setup.members)
    if state.advert not in message.adverts:
        raise errors.KeysChanged(f"the keys of {party.name!r} are not the ones it sent")
    if len(names) < setup.survivors or len(names) <= setup.threshold:
        raise errors.TooFewSurvivors(f"{len(names)} clients have sent keys; {setup.survivors} are needed")
    # If the server leaves clients out, assume that they are all honest.
    corrupt = party.secure.corrupt_near(len(setup.members), len(names), setup.neighbours)
    if corrupt >= setup.threshold:
        raise errors.TooFewSurvivors(
            f"{len(names)} of {len(setup.members)} clients have sent keys: of {setup.neighbours} neighbours"
            f" among them {corrupt} may be corrupt, and could recover a secret together"
        )
    for advert in message.adverts:
        party.register.check(advert.name, advert.identity)
    used = [key for advert in message.adverts for key in (advert.mask_key, advert.share_key)]
    if len(set(used)) != len(used) or len({advert.identity for advert in message.adverts}) != len(names):
        raise errors.KeysChanged("two clients have the same key; each must have its own")


def contribute(
    party: Party, state: Shared, message: Delivery, vector: RingVector
) -> tuple[Masked, RingVector, Contributed]:
    """Stage `masked`: open the others' shares, and mask the vector, in place."""
    neighbours = check_delivery(party, state, message)
    held, complaints, own = [], [], Agreement(state.share_secret)
    verified = set(state.neighbours)
    publics = {advert.name: advert.mask_key for advert in state.neighbours if advert.name in neighbours}
    for received in message.received:
        sender = received.sender
        party.register.check(sender.name, sender.identity)
        if sender not in verified:
            verify(sender.identity, sender.signature, sender.signed(state.setup.session), sender.name)
        publics.setdefault(sender.name, sender.mask_key)
        try:
            held.append(_open(party, state, own, received))
        except errors.BadShare:
            complaints.append(sender.name)
    shape = party.shape(len(state.setup.members))
    masker, mine = Masker(shape), Agreement(state.mask_secret)
    for name, public in sorted(publics.items()):
        key = pair_key(mine, public, state.keys, party.name, name)
        masker.pair(vector, key, party.name, name)
    masker.add(vector, self_key(state.seed, state.keys, party.name))
    shape.ring.reduced(vector.values)
    after = Contributed(
        state.setup, party.name, state.keys, message.sharers, tuple(sorted(neighbours)), tuple(held)
    )
    return Masked(state.keys, tuple(complaints)), vector, after


def check_delivery(party: Party, state: Shared, message: Delivery) -> set[str]:
    """Refuse a delivery that isolates this client; returns its own neighbours that have shared.

    Called before the client trains, and again before it masks.
    """
    setup = state.setup
    _check_keys(message.keys, state.keys)
    check_names(message.sharers, "sharers", among=setup.members, having=party.name)
    if len(message.sharers) < setup.survivors:
        raise errors.TooFewSurvivors(
            f"{len(message.sharers)} clients have shared; {setup.survivors} are needed"
        )
    check_names(tuple(r.sender.name for r in message.received), "senders", among=message.sharers)
    if party.name in [received.sender.name for received in message.received]:
        raise errors.NotAMember(f"{party.name!r} is listed as having sent shares to itself")
    return set(_near(tuple(a.name for a in state.neighbours), message.sharers, setup.threshold))


def _open(party: Party, state: Shared, own: Agreement, received: Received) -> Held:
    sender, box = received.sender, received.box
    key = box_key(own, sender.share_key, state.keys, sender.name, party.name)
    opened = decode(Opened, open_sealed(key, box.sealed, state.keys, sender.name))
    committed = Commitments(
        commitment(state.keys, sender.name, party.name, "self mask", opened.self_mask),
        commitment(state.keys, sender.name, party.name, "mask key", opened.mask_key),
    )
    if (opened.sender, opened.recipient, committed) != (sender.name, party.name, box.committed):
        raise errors.BadShare(
            f"the shares of {sender.name!r} are for another client, or do not match its commitments"
        )
    return Held(sender.name, opened.self_mask, opened.mask_key)


def confirm(party: Party, state: Contributed, message: Survivors) -> tuple[Signed, Confirmed]:
    """Stage `survivors`: sign the one list for which shares will be revealed."""
    setup = state.setup
    _check_keys(message.keys, state.keys)
    check_names(message.alive, "alive")
    check_names(message.dead, "dead")
    both = sorted(set(message.alive) & set(message.dead))
    if both:
        raise errors.AliveAndDead(f"{both[0]!r} is listed as both alive and dead")
    if set(message.alive) | set(message.dead) != set(state.sharers):
        raise errors.NotAMember("the clients listed as alive or dead are not the clients that have shared")
    if party.name not in message.alive:
        raise errors.NotAMember(f"{party.name!r} has sent its vector, but is not listed as alive")
    if len(message.alive) < setup.survivors:
        raise errors.TooFewSurvivors(f"{len(message.alive)} clients are alive; {setup.survivors} are needed")
    _near(state.neighbours, message.alive, setup.threshold)
    signature = sign(party.secret, message.signed())
    return Signed(state.keys, signature), Confirmed(state, message, signature)


def reveal(party: Party, state: Confirmed, message: Unmask) -> Revealed:
    """Stage `unmask`: reveal one share for each client, according to the signed list; no state remains."""
    before = state.contributed
    if message.survivors != state.survivors:
        raise errors.SplitView("the list of survivors is not the one that this client signed")
    check_names(tuple(signer.name for signer in message.signers), "signers", among=state.survivors.alive)
    if len(message.signers) < before.setup.survivors:
        raise errors.TooFewSurvivors(
            f"{len(message.signers)} survivors have signed the list; {before.setup.survivors} are needed"
        )
    signed = state.survivors.signed()
    for signer in message.signers:
        verify(party.register.key(signer.name), signer.signature, signed, signer.name)
    dead = set(state.survivors.dead)
    shares = [
        Share(held.owner, 1, held.mask_key) if held.owner in dead else Share(held.owner, 0, held.self_mask)
        for held in before.held
    ]
    return Revealed(before.keys, tuple(shares))


def _check_keys(theirs: bytes, ours: bytes) -> None:
    if theirs != ours:
        raise errors.StaleRound("the message is for another run, round, model or set of keys")


def _near(neighbours: Names, among: Names, threshold: int) -> list[str]:
    left = set(among)
    near = [name for name in neighbours if name in left]
    if len(near) < threshold:
        raise errors.Isolated(
            f"{len(near)} of this client's {len(neighbours)} neighbours are left; {threshold} are needed"
        )
    return near
