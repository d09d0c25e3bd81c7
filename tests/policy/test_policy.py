from collections import Counter
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shuhari.envs.types import Turn
from shuhari.policy.character_tokenizer import build_tokenizer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.lm_player import LMPlayer
from shuhari.policy.policy import LEARNING, CheckpointError, Policy
from shuhari.policy.render import Renderer
from shuhari.policy.scoring import completion_logprobs

OTHER = "gpt_neox"
KINDS = (*checkpoints.FUSED, OTHER)


@pytest.fixture(scope="module", params=KINDS)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return checkpoints.random_policy(tmp_path_factory.mktemp(request.param), request.param)  # type: ignore[no-any-return]


class TestTokenizer:
    tokenizer = build_tokenizer()

    @given(st.text())
    def test_any_text_survives(self, text: str) -> None:
        assert self.tokenizer.decode(self.tokenizer.encode(text, add_special_tokens=False)) == text

    def test_ascii_is_one_token_a_character(self) -> None:
        assert len(self.tokenizer.encode("x.o\n12+3=", add_special_tokens=False)) == 9

    def test_special_tokens_in_a_users_text_are_text(self) -> None:
        assert self.tokenizer.eos_token_id not in self.tokenizer.encode("<eos>", add_special_tokens=False)


class TestForward:
    def test_the_path_is_said(self, policy: Policy) -> None:
        fused = policy.model.config.model_type in checkpoints.FUSED
        assert policy.forward_pass.startswith("fused" if fused else "module (architecture 'gpt_neox')")

    @pytest.mark.parametrize("adapter", [LEARNING, None, "past"])
    @pytest.mark.parametrize("keep", [None, 1, 3])
    def test_logits_are_the_modules(self, policy: Policy, adapter: str | None, keep: int | None) -> None:
        if adapter == "past":
            policy.freeze("past", {key: 0.5 * value for key, value in policy.state().items()})
        tokens = torch.randint(2, 90, (3, 11), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            got = policy.logits(tokens, keep, adapter)
            with policy.adapter_on(adapter):
                want = policy.model(input_ids=tokens).logits[:, -(keep or 11) :]
        torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-4)

    def test_a_frozen_adapter_stays_as_it_was(self, policy: Policy, tmp_path: Path) -> None:
        tokens = torch.randint(2, 90, (1, 5), generator=torch.Generator().manual_seed(0))
        start = policy.state()
        with torch.no_grad():
            before = policy.logits(tokens)
            policy.freeze("then")
            policy.load_state({key: value + 0.1 for key, value in start.items()})
            after = policy.logits(tokens)
            torch.testing.assert_close(policy.logits(tokens, adapter="then"), before)
            assert not torch.allclose(after, before, atol=1e-3)
            policy.freeze("then")
            torch.testing.assert_close(policy.logits(tokens, adapter="then"), after)
        assert [p.requires_grad for p in policy.parameters.values()] == [True] * len(policy.parameters)
        assert sum(p.requires_grad for p in policy.model.parameters()) == len(policy.parameters)
        policy.save(tmp_path / "adapter")
        assert not (tmp_path / "adapter" / "then").exists()
        policy.load_state(start)

    def test_gradients_are_the_modules(self, policy: Policy) -> None:
        tokens = torch.randint(2, 90, (2, 9), generator=torch.Generator().manual_seed(0))
        gradients = []
        for logits in (policy.logits(tokens, 2), policy.model(input_ids=tokens).logits[:, -2:]):
            loss = logits.log_softmax(-1)[..., 5].sum()
            gradients.append(torch.autograd.grad(loss, list(policy.parameters.values())))
        for got, want in zip(*gradients, strict=True):
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)

    def test_an_update_is_seen(self, policy: Policy) -> None:
        tokens = torch.tensor([[5, 6, 7]])
        state = policy.state()
        with torch.no_grad():
            before = policy.logits(tokens)
            for p in policy.parameters.values():
                p.mul_(1.5)
            policy.updated()
            assert not torch.allclose(policy.logits(tokens), before)
            policy.load_state(state)
            torch.testing.assert_close(policy.logits(tokens), before)


class TestGenerator:
    def test_greedy_is_hugging_faces(self, policy: Policy) -> None:
        prompts = [policy.encode(text) for text in ("12+3=", "x.o", "12+3=", "a longer prompt", "q")]
        got = Generator(policy).generate(prompts, 12, temperature=0)
        for prompt, completion in zip(prompts, got, strict=True):
            output = policy.model.generate(
                input_ids=torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=12,
                do_sample=False,
                pad_token_id=policy.eos,
            )
            want = output[0, len(prompt) :].tolist()
            assert list(completion.tokens) == want
            assert completion.finished == (want[-1] == policy.eos)

    def test_samplers_and_learners_logprobs_agree(self, policy: Policy) -> None:
        prompts = [policy.encode(text) for text in ("12+3=", "x.o", "12+3=", "abc")] * 4
        completions = Generator(policy).generate(prompts, 9, temperature=1.0, seed=3)
        pairs = [(p, c.tokens) for p, c in zip(prompts, completions, strict=True)]
        learner = completion_logprobs(policy, pairs).logprobs_N
        sampler = torch.tensor([x for c in completions for x in c.logprobs])
        assert (learner - sampler).abs().max() <= 1e-5

    def test_one_seed_one_result(self, policy: Policy) -> None:
        prompts = [policy.encode("12+3=")] * 8
        first, again, other = (Generator(policy).generate(prompts, 9, seed=s) for s in (1, 1, 2))
        assert first == again
        assert first != other
        assert len({c.tokens for c in first}) > 1  # equal prompts, different samples

    def test_a_players_chances_are_those_of_the_texts(self, policy: Policy) -> None:
        player = LMPlayer(policy, Renderer(policy))
        prompts, choices = ["x.o", "12+3=", "x.o"], [["1", "2", "a1", "a2"], ["15"], ["1", "12", "b"]]
        turns = [Turn(prompt, tuple(texts)) for prompt, texts in zip(prompts, choices, strict=True)]
        tables, masses = player.probabilities_and_mass(turns)
        for prompt, texts, table, mass in zip(prompts, choices, tables, masses, strict=True):
            for text, chance in zip(texts, table * mass, strict=True):
                # "1" begins "12": only there must the texts be told apart by their end
                tokens = policy.encode(text) + ((policy.eos,) if "12" in texts else ())
                want = completion_logprobs(policy, [(policy.encode(prompt), tokens)]).logprobs_N.sum().item()
                assert np.log(chance) == pytest.approx(want, abs=1e-4)

    def test_a_prompt_that_does_not_fit_is_refused(self, policy: Policy) -> None:
        for prompt in ((), (5,) * 128):
            good = policy.encode("12+3=")
            refused, served = Generator(policy).generate([prompt, good], 10)
            assert "takes 1 to 128" in refused.error
            assert not refused.finished
            assert served.tokens
            assert not served.error


def test_a_player_is_asked_once_while_its_weights_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy("games", rank=2, alpha=4.0)
    player, asked = LMPlayer(policy, Renderer(policy)), list[int]()
    ask = player._logprobs
    monkeypatch.setattr(player, "_logprobs", lambda turns: asked.append(len(turns)) or ask(turns))
    turns = [Turn("x.o.x....x>", ("2", "4")), Turn("x.o.x....x>", ("2",)), Turn("x.o.x....x>", ("2", "4"))]
    first = player.probabilities(turns)
    assert asked == [2]
    assert all((a == b).all() for a, b in zip(first, player.probabilities(turns), strict=True))
    assert asked == [2]
    with torch.no_grad():
        for p in policy.parameters.values():
            p.add_(0.1)
    policy.updated()
    assert not np.allclose(first[0], player.probabilities(turns)[0])
    assert asked == [2, 2]


def test_samples_follow_the_probabilities() -> None:
    policy = Policy("games", rank=2, alpha=4.0)
    n, prompt = 4000, policy.encode("x.o.x....x>")
    completions = Generator(policy).generate([prompt] * n, 1, seed=7)
    with torch.no_grad():
        p = policy.logits(torch.tensor([prompt]), 1)[0, 0].softmax(-1).double().numpy()
    counts = Counter(c.tokens[0] for c in completions)
    likely = np.flatnonzero(p * n >= 5)
    observed = np.array([counts[int(t)] for t in likely])
    rest = (n - observed.sum(), n * (1 - p[likely].sum()))
    chi2 = ((observed - n * p[likely]) ** 2 / (n * p[likely])).sum() + (rest[0] - rest[1]) ** 2 / max(
        rest[1], 1
    )
    assert chi2 < len(likely) + 5 * (2 * len(likely)) ** 0.5  # five standard deviations of the chi-square


class TestCheckpoints:
    def test_an_adapter_comes_back(self, tmp_path: Path) -> None:
        policy = checkpoints.random_policy(tmp_path / "base", "llama")
        policy.save(tmp_path / "adapter")
        again = Policy(str(tmp_path / "base"), rank=4, alpha=8.0, adapter=tmp_path / "adapter")
        with torch.no_grad():
            tokens = torch.tensor([[5, 6, 7]])
            torch.testing.assert_close(again.logits(tokens), policy.logits(tokens))

    def test_an_adapters_folder_may_have_dots_in_its_name(self, tmp_path: Path) -> None:
        policy = Policy("math", rank=2, alpha=4.0)
        for folder in ("a.b", "a_b", "a%2Eb"):
            policy.save(tmp_path / folder)
        names = {policy.adapter_named(str(tmp_path / folder), "here") for folder in ("a.b", "a_b", "a%2Eb")}
        assert len(names) == 3
        assert set(policy.frozen) == names

    @pytest.mark.parametrize("break_it", ["missing", "json", "weights", "foreign"])
    def test_a_bad_base_is_one_line(self, tmp_path: Path, break_it: str) -> None:
        base = tmp_path / "base"
        if break_it != "missing":
            checkpoints.write_checkpoint(base, "llama")
        if break_it == "json":
            (base / "config.json").write_text("{")
        if break_it == "weights":
            (base / "model.safetensors").write_bytes(b"not weights")
        if break_it == "foreign":
            (base / "config.json").write_text('{"model_type": "unheard_of"}')
        with pytest.raises(CheckpointError) as error:
            Policy(str(base), rank=4, alpha=8.0)
        assert "\n" not in str(error.value)
        assert str(base) in str(error.value)

    def test_an_adapter_of_another_base_is_refused_even_where_it_would_fit(self, tmp_path: Path) -> None:
        Policy("games", rank=2, alpha=4.0).save(tmp_path / "adapter")
        Policy("games", rank=2, alpha=4.0, adapter=tmp_path / "adapter")
        with pytest.raises(CheckpointError, match="trained on another base"):
            Policy("math", rank=2, alpha=4.0, adapter=tmp_path / "adapter")

    @pytest.mark.parametrize("break_it", ["missing", "weights", "other_base"])
    def test_a_bad_adapter_is_one_line(self, tmp_path: Path, break_it: str) -> None:
        checkpoints.random_policy(tmp_path / "base", "llama").save(tmp_path / "adapter")
        base = tmp_path / "base"
        if break_it == "missing":
            (tmp_path / "adapter" / "adapter_config.json").unlink()
        if break_it == "weights":
            (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"not weights")
        if break_it == "other_base":
            base = checkpoints.write_checkpoint(tmp_path / "other", OTHER)
        with pytest.raises(CheckpointError, match="adapter=") as error:
            Policy(str(base), rank=4, alpha=8.0, adapter=tmp_path / "adapter")
        assert "\n" not in str(error.value)


def test_draws_follow_their_probabilities_and_never_what_has_none() -> None:
    from shuhari.policy.inference.sampler import draw

    probabilities_V = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    n = 20_000
    uniform_N = torch.rand(n, generator=torch.Generator().manual_seed(0))
    chosen_N = draw(probabilities_V.expand(n, -1), uniform_N)
    shares_V = torch.bincount(chosen_N, minlength=6) / n
    assert torch.allclose(shares_V, probabilities_V, atol=0.015)
    assert not shares_V[[0, 2, 5]].any()
    ends_N = torch.tensor([0.0, 1 - 2**-24])
    assert draw(probabilities_V.expand(2, -1), ends_N).tolist() == [1, 4]


def test_exploration_changes_one_token_of_a_greedy_completion() -> None:
    policy = Policy("math", rank=4, alpha=8.0)
    generator = Generator(policy)
    prompts = [policy.encode("12+34=")] * 200
    plain = generator.generate(prompts[:1], 12, temperature=0)[0].tokens
    explored = generator.generate(prompts, 12, temperature=0, seed=1, explore=4)
    again = generator.generate(prompts, 12, temperature=0, seed=1, explore=4)
    assert [c.tokens for c in explored] == [c.tokens for c in again]
    changed = [c.tokens for c in explored if c.tokens != plain]
    assert 80 < len(changed) < 200  # a quarter explores to what it would have said anyway
    starts = {next(i for i, (a, b) in enumerate(zip(c, plain, strict=False)) if a != b) for c in changed}
    assert len(starts) > 6  # at every place
