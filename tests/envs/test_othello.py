"""Othello on small boards, beside OpenSpiel's own on 8x8."""

import random

import pyspiel
import pytest

from shuhari.envs.games.referee import Referee


def test_8x8_is_openspiels_own_game() -> None:
    rng = random.Random(0)
    ours, theirs = pyspiel.load_game("sized_othello(size=8)"), pyspiel.load_game("othello")
    passes = 0
    for _ in range(60):
        one, other = ours.new_initial_state(), theirs.new_initial_state()
        while not other.is_terminal():
            assert one.current_player() == other.current_player()
            assert one.legal_actions() == other.legal_actions()
            action = rng.choice(one.legal_actions())
            assert one.action_to_string(action) == other.action_to_string(action)
            passes += action == 64
            one.apply_action(action)
            other.apply_action(action)
        assert one.is_terminal()
        assert one.returns() == other.returns()
    assert passes


@pytest.mark.parametrize("size", [4, 6, 8])
def test_a_game_and_its_image_go_the_same_way_and_are_saved(size: int) -> None:
    rng, start = random.Random(1), Referee(f"sized_othello(size={size})")
    images = start.text.images(start.observation, start.legal_actions)
    same = [k for k, (seen, _) in enumerate(images) if seen == start.observation]
    assert len(same) == 4
    for k in same:
        one, other = start.clone(), start.clone()
        while not one.over:
            seen, moves = one.text.images(one.observation, one.legal_actions)[k]
            assert seen == other.observation
            assert sorted(moves) == sorted(other.legal_actions)
            n = rng.randrange(len(moves))
            one.apply(one.legal_actions[n])
            other.apply(moves[n])
            one, other = one.clone(), Referee.deserialize(other.serialize())
        lead = one.observation.count("x") - one.observation.count("o")
        assert (
            one.returns == other.returns == (float((lead > 0) - (lead < 0)), float((lead < 0) - (lead > 0)))
        )


def test_4x4_is_won_by_the_second_seat() -> None:
    """By 11 discs to 3, as "Perfect analysis in miniature Othello" (Takeshita et al. 2015) has it."""
    known: dict[str, int] = {}

    def value(state: pyspiel.State) -> int:
        """The first seat's lead in discs."""
        if state.is_terminal():
            return str(state).count("x") - str(state).count("o")
        key = f"{state}{state.current_player()}"
        if key not in known:
            found = [value(state.child(action)) for action in state.legal_actions()]
            known[key] = max(found) if state.current_player() == 0 else min(found)
        return known[key]

    assert value(pyspiel.load_game("sized_othello(size=4)").new_initial_state()) == -8


def test_a_size_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="size=5 must be one of 4, 6, 8"):
        Referee("sized_othello(size=5)")
