"""Chat templates: what a policy is shown is what its template writes, turn by turn."""

import json
from pathlib import Path
from typing import Any

import chat_models
import pytest
from chat_models import TEMPLATES, write_chat_model

from shuhari.envs import Trace
from shuhari.policy.chat_renderer import ChatRenderer, build_renderer
from shuhari.policy.inference.generator import Generator
from shuhari.policy.inference.request import Request
from shuhari.policy.load import CheckpointError
from shuhari.policy.policy import Policy
from shuhari.policy.render import Renderer

RULES, ASKED, SAID, MORE = "Answer with a number.", "How many legs have 3 dogs?", "12", "And 2 spiders?"


def policy_of(folder: Path, shape: str, template: str | None = None) -> Policy:
    return Policy(str(write_chat_model(folder, shape, template)), rank=2, alpha=4.0)


@pytest.fixture(scope="module", params=TEMPLATES)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy_of(tmp_path_factory.mktemp(request.param), request.param)


def whole(policy: Policy, said: list[tuple[str, str]], asks: bool, **arguments: Any) -> tuple[int, ...]:
    """What transformers makes of a conversation."""
    messages = [{"role": role, "content": content} for role, content in said]
    given = {"date_string": "26 Jul 2024", "return_dict": False} | arguments
    return tuple(policy.tokenizer.apply_chat_template(messages, add_generation_prompt=asks, **given))


def shape_of(policy: Policy) -> str:
    return next(name for name, text in TEMPLATES.items() if text == policy.tokenizer.chat_template)


def opening_of(policy: Policy) -> list[tuple[str, str]]:
    """The messages of a first question with instructions."""
    if shape_of(policy) == "gemma":
        return [("user", f"{RULES}\n\n{ASKED}")]
    return [("system", RULES), ("user", ASKED)]


@pytest.mark.parametrize("said", [SAID, "Line by line.\n\n2 + 2 = 4\n#### 4"])
def test_two_turns_are_what_the_template_writes(policy: Policy, said: str) -> None:
    renderer = ChatRenderer(policy, RULES)
    opening = opening_of(policy)
    prompt = renderer.first(ASKED)
    assert prompt == whole(policy, opening, True)
    answered = prompt + renderer.completion(said)
    following = renderer.following(answered, MORE)
    messages = [*opening, ("assistant", said), ("user", MORE)]
    if shape_of(policy) == "qwen3":  # the documented exception: an earlier turn keeps its (empty) thought
        thought = policy.tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
        at = len(prompt)
        assert list(following[at : at + len(thought)]) == thought
        following = following[:at] + following[at + len(thought) :]
        assert [*renderer.notes(turns=True)] == [
            "the chat template writes earlier answers otherwise once new messages follow: here earlier turns "
            "stay as they were sampled"
        ]
    else:
        assert not [note for note in renderer.notes(turns=True) if "earlier" in note]
    assert following == whole(policy, messages, True)
    assert not [note for note in renderer.notes(turns=False) if "earlier" in note]


def test_a_template_that_is_asked_not_to_think(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "qwen3")
    renderer = build_renderer(policy, RULES, template={"enable_thinking": False})
    off = {"enable_thinking": False}
    prompt = renderer.first(ASKED)
    assert prompt == whole(policy, [("system", RULES), ("user", ASKED)], True, **off)
    assert policy.tokenizer.decode(prompt).endswith("<think>\n\n</think>\n\n")
    said = [("system", RULES), ("user", ASKED), ("assistant", SAID)]
    newline = policy.tokenizer.encode("\n", add_special_tokens=False)
    assert [*prompt, *renderer.completion(SAID), *newline] == [*whole(policy, said, False, **off)]


def test_a_prompt_that_opens_a_thought_has_it_closed_by_an_expert(tmp_path: Path) -> None:
    template = TEMPLATES["chatml"].replace(
        "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}"
    )
    policy = policy_of(tmp_path, "chatml", template)
    text = policy.tokenizer.decode(build_renderer(policy).completion(SAID))
    assert text == f"\n</think>\n\n{SAID}<|im_end|>"


def test_an_environment_is_told_what_was_said_after_the_thought(policy: Policy) -> None:
    renderer = ChatRenderer(policy)
    assert renderer.answer("<think>\n12 or 13?\n</think>\n\n12\n") == "12"
    assert renderer.answer(" 12") == "12"
    assert Renderer(policy).answer(" 12 ") == " 12 "


def test_what_closes_a_turn_and_what_generation_config_names_end_a_completion(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path, "chatml")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7]}))
    policy = Policy(str(folder), rank=2, alpha=4.0)
    assert policy.ends == {0, 7}
    closing = policy.tokenizer.convert_tokens_to_ids("<|im_end|>")
    renderer = build_renderer(policy)
    assert policy.ends == {0, 7, closing}
    assert renderer.completion(SAID)[-1] == closing
    generator = Generator(policy)
    for end in (7, closing):  # with every other token forbidden but one
        completions = generator.run([Request(renderer.first(ASKED), 40, seed=seed) for seed in range(40)])
        ended = [c for c in completions if c.tokens[-1] == end]
        assert all(c.finished for c in ended)
        assert all(end not in c.tokens[:-1] for c in completions)
        assert all(c.text == policy.tokenizer.decode(c.tokens[:-1], skip_special_tokens=True) for c in ended)


def test_instructions_of_a_trace_stand_in_for_those_of_the_environment(policy: Policy) -> None:
    renderer = ChatRenderer(policy, "Other rules.")
    prompt, completion = renderer.trace(Trace(MORE, SAID, ((ASKED, SAID),), RULES))
    mine = ChatRenderer(policy, RULES)
    asked = mine.following(mine.first(ASKED) + mine.completion(SAID), MORE)
    assert (prompt, completion) == (asked, mine.completion(SAID))
    assert prompt != renderer.trace(Trace(MORE, SAID, ((ASKED, SAID),)))[0]


def test_worked_examples_are_earlier_turns(policy: Policy) -> None:
    examples = [Trace(ASKED, SAID)]
    chat, plain = (build_renderer(policy, RULES, format=f, examples=examples) for f in ("chat", "plain"))
    bare = ChatRenderer(policy, RULES)
    assert chat.first(MORE) == bare.following(bare.first(ASKED) + bare.completion(SAID), MORE)
    encode = policy.encode
    assert plain.first(MORE) == (*policy.opening(ASKED), *encode(SAID), policy.eos, *encode(MORE))


def test_auto_takes_the_template_that_there_is(policy: Policy) -> None:
    assert build_renderer(policy).format == "chat"
    assert build_renderer(policy, format="plain").format == "plain"
    assert build_renderer(Policy("math", rank=2, alpha=4.0)).format == "plain"


def test_every_day_gives_the_same_prompts(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "llama3")
    assert "26 Jul 2024" in policy.tokenizer.decode(build_renderer(policy, RULES).first(ASKED))
    other = build_renderer(policy, RULES, template={"date_string": "1 May 2025"})
    assert "1 May 2025" in policy.tokenizer.decode(other.first(ASKED))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no chat today') }}", "raises no chat today"),
        ("{% for m in messages %}{{ m.contents }}{% endfor %}", "leaves out what an assistant says"),
        ("{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "elsewhere"),
        ("{% for m in messages %}", "raises"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(tmp_path: Path, template: str, reason: str) -> None:
    policy = policy_of(tmp_path, "chatml", template)
    with pytest.raises(CheckpointError, match=reason) as raised:
        build_renderer(policy)
    assert "take format=plain" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert build_renderer(policy, format="plain").first("12") == policy.opening("12")


def test_a_template_of_words_alone_is_closed_by_end_of_text(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}assistant: {% endif %}"
    policy = policy_of(tmp_path, "chatml", template)
    renderer = ChatRenderer(policy)
    assert renderer.completion(SAID)[-1] == policy.eos
    said = renderer.following(renderer.first(ASKED) + renderer.completion(SAID), MORE)
    assert policy.tokenizer.decode(said) == (
        f"user: {ASKED}\nassistant: {SAID}<|endoftext|>\nuser: {MORE}\nassistant: "
    )
    assert "end-of-text does" in renderer.notes(turns=True)[0]


def test_formats_that_cannot_be_had_are_refused() -> None:
    policy = Policy("math", rank=2, alpha=4.0)
    with pytest.raises(CheckpointError, match="no chat template; take format=plain"):
        build_renderer(policy, format="chat")
    with pytest.raises(CheckpointError, match="without a template"):
        build_renderer(policy, template={"enable_thinking": False})
    with pytest.raises(CheckpointError, match="auto, chat, plain"):
        build_renderer(policy, format="Chat")


def test_shapes_are_as_different_as_they_should_be() -> None:
    """The tokenizer of Mistral's shape puts a space before a text that stands alone."""
    mistral, chatml = (chat_models.build_chat_tokenizer(shape) for shape in ("mistral", "chatml"))
    assert mistral.decode(mistral.encode("12", add_special_tokens=False)).startswith(" ")
    assert chatml.decode(chatml.encode("12", add_special_tokens=False)) == "12"
