"""What the server says of survivors, and what it then asks to unmask."""

from dataclasses import replace

from hedgerow.secure import client, errors
from hedgerow.secure.messages import Signer, Unmask
from hedgerow.secure.primitives import sign
from tests.faults.cheating_server.stages import COHORT, VICTIM, at, cheats, confirm, first, reveal
from tests.secure_round import Rehearsal, secret_of


@cheats(errors.AliveAndDead)
def a_node_both_alive_and_dead() -> None:
    confirm(COHORT, ("client-002",))


@cheats(errors.TooFewSurvivors)
def nearly_all_said_to_be_dead() -> None:
    alive = first(COHORT, 6)
    confirm(alive, tuple(n for n in COHORT if n not in alive))


@cheats(errors.NotAMember)
def the_victim_said_to_be_dead_though_its_vector_was_taken() -> None:
    confirm(tuple(n for n in COHORT if n != VICTIM), (VICTIM,))


@cheats(errors.DuplicateMember)
def a_survivor_twice_to_reach_the_floor() -> None:
    alive = first(COHORT, 6)
    confirm(tuple(sorted([*alive, alive[0]])), tuple(n for n in COHORT if n not in alive))


@cheats(errors.NotAMember)
def a_client_in_neither_list() -> None:
    confirm(COHORT[:-1], ())


@cheats(errors.StaleRound)
def a_list_of_another_round() -> None:
    earlier = at("survivors", round=2)
    rehearsal = at("survivors")
    client.confirm(rehearsal.parties[VICTIM], rehearsal.contributed[VICTIM], earlier.server.survivors)


@cheats(errors.SplitView)
def another_list_than_the_one_that_was_signed() -> None:
    """The victim has signed that all are alive, and is asked for the shares of one said to be dead."""

    def swap(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        alive = tuple(n for n in COHORT if n != "client-002")
        return replace(message, survivors=replace(message.survivors, alive=alive, dead=("client-002",)))

    reveal(swap)


@cheats(errors.TooFewSurvivors)
def split_views_of_the_survivors() -> None:
    """Half of the cohort signs one list, half another: neither half is enough."""

    def halve(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        signed = {name: state.signature for name, state in rehearsal.confirmed.items()}
        half = first(COHORT, 5)
        return replace(message, signers=tuple(Signer(n, signed[n]) for n in half))

    reveal(halve)


@cheats(errors.BadSignature)
def split_views_made_up_with_signatures_of_the_other_list() -> None:
    def mix(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        other = replace(message.survivors, alive=COHORT[:-1], dead=COHORT[-1:])
        signers = []
        for position, name in enumerate(COHORT[:7]):
            party, state = rehearsal.parties[name], rehearsal.contributed[name]
            listed = message.survivors if position < 4 else other
            signers.append(Signer(name, client.confirm(party, state, listed)[0].signature))
        return replace(message, signers=tuple(signers))

    reveal(mix)


@cheats(errors.DuplicateMember)
def one_signature_counted_often() -> None:
    reveal(lambda m, r: replace(m, signers=(m.signers[0],) * len(m.signers)))


@cheats(errors.NotAMember)
def signatures_of_clients_that_are_not_alive() -> None:
    rehearsal = Rehearsal(COHORT)
    for stage in ("keys", "shares"):
        getattr(rehearsal, stage)()
    rehearsal.masked(lambda stage, name: name == "client-002")
    rehearsal.survivors()
    message = rehearsal.server.unmask
    dead = Signer("client-002", sign(secret_of("client-002"), message.survivors.signed()))
    signers = tuple(sorted([dead, *message.signers[1:]], key=lambda s: s.name))
    client.reveal(rehearsal.parties[VICTIM], rehearsal.confirmed[VICTIM], replace(message, signers=signers))


@cheats(errors.BadSignature)
def signatures_of_the_server_itself() -> None:
    def forge(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        forged = sign(secret_of("server"), message.survivors.signed())
        return replace(message, signers=tuple(Signer(s.name, forged) for s in message.signers))

    reveal(forge)
