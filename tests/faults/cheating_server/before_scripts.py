"""What the server says before a round."""

from dataclasses import replace

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.secure import client, errors
from hedgerow.secure.messages import EVALUATE
from tests.faults.cheating_server.stages import COHORT, VICTIM, cheats, join
from tests.secure_round import Rehearsal, names


@cheats(errors.CohortTooSmall)
def a_cohort_smaller_than_the_client_takes_part_in() -> None:
    rehearsal = Rehearsal(COHORT)
    party = replace(rehearsal.parties[VICTIM], secure=SecureAggregation(min_clients=20))
    client.join(party, rehearsal.setup)


@cheats(errors.ThresholdTooLow)
def a_lowered_threshold() -> None:
    join(threshold=SecureAggregation().plan(10).threshold - 1)


@cheats(errors.ThresholdTooLow)
def a_threshold_that_no_neighbours_can_reach() -> None:
    join(threshold=10)


@cheats(errors.TooFewNeighbours)
def too_few_neighbours() -> None:
    join(neighbours=5, threshold=5)


@cheats(errors.TooFewNeighbours)
def so_many_neighbours_that_the_corrupt_among_them_have_a_threshold_of_shares() -> None:
    """Of 200 clients 75 are neighbours and 39 shares open a mask; among all 199 the corrupt are 40."""
    members = names(200)
    rehearsal = Rehearsal(members, SecureAggregation())
    assert rehearsal.setup.threshold <= 0.2 * len(members)
    client.join(rehearsal.parties[VICTIM], replace(rehearsal.setup, neighbours=len(members) - 1))


@cheats(errors.SurvivorFloorTooLow)
def a_lowered_floor_of_survivors() -> None:
    join(survivors=2)


@cheats(errors.SurvivorFloorTooLow)
def a_sum_of_so_few_that_the_noise_of_the_honest_ones_is_too_little() -> None:
    rehearsal = Rehearsal(COHORT)
    party = replace(rehearsal.parties[VICTIM], secure=SecureAggregation(dropout=0.0).under(8))
    client.join(party, replace(rehearsal.setup, threshold=9, survivors=9))


@cheats(errors.CohortTooSmall)
def a_cohort_whose_honest_clients_make_too_little_noise() -> None:
    rehearsal = Rehearsal(COHORT)
    party = replace(rehearsal.parties[VICTIM], secure=SecureAggregation().under(9))
    client.join(party, rehearsal.setup)


@cheats(errors.Malformed)
def a_run_whose_name_fills_the_disk() -> None:
    join(run="x" * 201)


@cheats(errors.WrongPurpose)
def a_round_of_an_evaluation_in_which_updates_would_be_summed() -> None:
    join(run="run evaluate")


@cheats(errors.WrongPurpose)
def a_round_of_training_in_which_a_client_would_measure() -> None:
    rehearsal = Rehearsal(COHORT)
    client.join(replace(rehearsal.parties[VICTIM], purpose=EVALUATE), rehearsal.setup)


@cheats(errors.DuplicateMember)
def a_member_twice_to_make_a_small_cohort_look_large() -> None:
    join(members=(*COHORT[:5], *COHORT[4:9]))


@cheats(errors.UnknownIdentity)
def made_up_members_beside_one_real_client() -> None:
    rehearsal = Rehearsal((VICTIM, *names(4)))
    members = (VICTIM, *(f"sybil-{i}" for i in range(9)))
    client.join(rehearsal.parties[VICTIM], replace(rehearsal.setup, members=members))


@cheats(errors.NotAMember)
def a_cohort_without_the_client_that_is_asked() -> None:
    rehearsal = Rehearsal(COHORT)
    others = tuple(n for n in names(11) if n != VICTIM)
    party = replace(rehearsal.parties[VICTIM])
    client.join(party, replace(rehearsal.setup, members=others))


@cheats(errors.WrongShape)
def a_ring_in_which_the_sum_would_overflow() -> None:
    join(bits=4)


@cheats(errors.Malformed)
def a_cohort_in_another_order_for_one_client() -> None:
    join(members=tuple(reversed(COHORT)))
