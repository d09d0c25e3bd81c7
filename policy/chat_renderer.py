"""Conversations in the tokenizer's own chat template; an environment's instructions are the system turn."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from shuhari.envs import Trace
from shuhari.policy.chat_template import THOUGHT_END, ChatTemplate
from shuhari.policy.load import CheckpointError
from shuhari.policy.policy import REMEMBERED, Policy, Tokens
from shuhari.policy.render import Renderer

FORMATS = ("auto", "chat", "plain")


class ChatRenderer(Renderer):
    """A chat template. The next turn's tokens are the difference that it makes to the conversation.

    Earlier turns stay as they were sampled, also where the template would rewrite them, as some do that take
    thoughts out. An environment is given what a policy wrote after its thoughts, without space around it.
    """

    format = "chat"

    def __init__(
        self,
        policy: Policy,
        instructions: str = "",
        examples: Sequence[Trace] = (),
        template: Mapping[str, Any] | None = None,
    ) -> None:
        """`template`: arguments of the chat template. Raises CheckpointError for one that cannot be used."""
        self.template = ChatTemplate(policy, template or {})
        policy.ends |= {self.template.end}
        super().__init__(policy, instructions, examples)
        self._write_opening = lru_cache(REMEMBERED)(self.template.opening)

    def notes(self, turns: bool) -> list[str]:
        found = []
        if self.instructions and not self.template.takes_system:
            found.append("the chat template has no system turn: instructions open the first message")
        if self.template.rewrites and (turns or self.examples):
            found.append(
                f"the chat template {self.template.rewrites}: here earlier turns stay as they were sampled"
            )
        return found

    def _opening(self, observation: str, instructions: str | None) -> Tokens:
        shown = self.instructions if instructions is None else instructions
        return self.template.tokens(self._write_opening(observation.strip(), shown))

    def following(self, said: Tokens, observation: str) -> Tokens:
        between = self.template.between(observation.strip())
        return said + self.template.tokens_after(self.template.close, between)

    def completion(self, text: str) -> Tokens:
        return self.template.tokens_after(self.template.beginning, self.template.completion(text))

    def answer(self, text: str) -> str:
        return text.rpartition(THOUGHT_END)[2].strip()


def build_renderer(
    policy: Policy,
    instructions: str = "",
    *,
    format: str = "auto",
    template: Mapping[str, Any] | None = None,
    examples: Sequence[Trace] = (),
) -> Renderer:
    """A renderer by the name of its format; "auto" is "chat" where the tokenizer has a chat template.

    Raises CheckpointError for a format that there is not or that the base cannot take, and for arguments of a
    template that is not used.
    """
    if format not in FORMATS:
        raise CheckpointError("format", format, f"must be one of {', '.join(FORMATS)}")
    if format == "chat" or (format == "auto" and policy.tokenizer.chat_template):
        return ChatRenderer(policy, instructions, examples, template)
    if template:
        raise CheckpointError(
            "template", dict(template), "conversations are plain text here, without a template"
        )
    return Renderer(policy, instructions, examples)
