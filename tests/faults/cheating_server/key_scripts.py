"""What the server does to clients' keys."""

from dataclasses import replace

from hedgerow.secure import errors
from hedgerow.secure.messages import Advert, Adverts
from hedgerow.secure.primitives import Agreement, sign
from tests.faults.cheating_server.stages import COHORT, VICTIM, at, cheats, first, share
from tests.secure_round import identity_of, secret_of


@cheats(errors.WrongIdentity)
def swapped_keys_of_a_client_the_server_controls() -> None:
    """The server stands in for everybody else, with keys of its own."""

    def swap(message: Adverts) -> Adverts:
        forged = []
        for advert in message.adverts:
            if advert.name == VICTIM:
                forged.append(advert)
                continue
            key = Agreement(bytes([len(forged) + 1]) * 32).public
            other = Agreement(bytes([len(forged) + 101]) * 32).public
            unsigned = Advert(advert.name, identity_of("server"), key, other, bytes(64))
            forged.append(
                replace(unsigned, signature=sign(secret_of("server"), unsigned.signed(message.session)))
            )
        return replace(message, adverts=tuple(forged))

    share(swap)


@cheats(errors.BadSignature)
def swapped_keys_with_the_right_identities() -> None:
    def swap(message: Adverts) -> Adverts:
        forged = [
            a if a.name == VICTIM else replace(a, mask_key=Agreement(bytes([i + 1]) * 32).public)
            for i, a in enumerate(message.adverts)
        ]
        return replace(message, adverts=tuple(forged))

    share(swap)


@cheats(errors.BadSignature)
def a_forged_signature() -> None:
    share(
        lambda m: replace(
            m, adverts=tuple(a if a.name == VICTIM else replace(a, signature=bytes(64)) for a in m.adverts)
        )
    )


@cheats(errors.KeysChanged)
def the_victims_own_keys_changed() -> None:
    def swap(message: Adverts) -> Adverts:
        key = Agreement(bytes([9]) * 32).public
        return replace(
            message,
            adverts=tuple(replace(a, mask_key=key) if a.name == VICTIM else a for a in message.adverts),
        )

    share(swap)


@cheats(errors.KeysChanged)
def one_key_for_two_clients() -> None:
    def swap(message: Adverts) -> Adverts:
        one, two, *others = message.adverts
        return replace(message, adverts=(one, replace(two, share_key=one.share_key), *others))

    share(swap)


@cheats(errors.DuplicateMember)
def a_client_twice_among_the_keys() -> None:
    share(lambda m: replace(m, adverts=(m.adverts[0], *m.adverts)))


@cheats(errors.TooFewSurvivors)
def keys_of_few_so_that_the_rest_of_the_cohort_is_cut_off() -> None:
    share(lambda m: replace(m, adverts=tuple(a for a in m.adverts if a.name in first(COHORT, 4))))


@cheats(errors.StaleRound)
def keys_replayed_from_an_earlier_round() -> None:
    earlier = at("shares", round=2)
    share(lambda m: earlier.server.adverts)


@cheats(errors.StaleRound)
def a_different_model_for_one_client() -> None:
    """The others have signed keys for another model: they cannot be mixed."""
    others = at("shares", model=bytes(32))
    share(lambda m: others.server.adverts)


@cheats(errors.BadSignature)
def a_different_model_with_the_session_rewritten() -> None:
    others = at("shares", model=bytes(32))

    def rewrite(message: Adverts) -> Adverts:
        mine = {a.name: a for a in message.adverts}
        adverts = tuple(mine[a.name] if a.name == VICTIM else a for a in others.server.adverts.adverts)
        return Adverts(message.session, adverts)

    share(rewrite)
