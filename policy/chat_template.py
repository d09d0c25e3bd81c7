"""A tokenizer's chat template, looked into once: where a completion begins and ends, and what comes after it.

A template is a program that writes a whole conversation. A rollout needs its parts: the prompt, what closes a
completion, and what stands between a completion and the next one's beginning. They are found by writing
conversations of known messages and looking for the messages in what comes out.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from shuhari.envs.files.conversation import ASSISTANT, SYSTEM, USER, as_message
from shuhari.envs.validation import first_line
from shuhari.policy.load import CheckpointError
from shuhari.policy.policy import REMEMBERED, Policy, Tokens

# Messages that no template contains. They begin and end with letters, so that templates that trim keep them.
QUESTION, ANSWER, NEXT, RULES = "Xfirst question?X", "Xfirst answer.X", "Xsecond question?X", "Xthe rules.X"
THOUGHT, THOUGHT_END = "<think>", "</think>"  # around what a policy thinks and does not say
# Some templates write today's date, unless they are told another. A seed gives the same prompts every day.
ALWAYS = {"date_string": "26 Jul 2024"}
Message = dict[str, str]


class ChatTemplate:
    """What a policy's tokenizer makes of conversations. `arguments` reach the template.

    takes_system: whether it has a system turn
    end: the token that closes a completion
    rewrites: what the template does to earlier turns once new ones follow; "" where it leaves them alone
    Raises CheckpointError for a template that cannot be used.
    """

    def __init__(self, policy: Policy, arguments: Mapping[str, Any]) -> None:
        self.policy, self.arguments = policy, ALWAYS | dict(arguments)
        if not policy.tokenizer.chat_template:
            raise CheckpointError(
                "format",
                "chat",
                "this base's tokenizer has no chat template; take format=plain or another base",
            )
        self.tokens = lru_cache(REMEMBERED)(self._tokens)
        question, answer = as_message(USER, QUESTION), as_message(ASSISTANT, ANSWER)
        self.beginning = self.write([question], asks=True)
        closed = self.write([question, answer])
        self.takes_system = self._writes_system()
        before, found, after = closed.partition(ANSWER)
        if not found:
            self._refuse("leaves out what an assistant says")
        # What it writes before an answer's text, such as an empty thought, and after it.
        self.lead = self._leading(before)
        self.end, self.close = self._closing(after)
        self.rewrites = self._rewriting(question, answer)

    @staticmethod
    def _refuse(reason: str) -> NoReturn:
        raise CheckpointError("format", "chat", f"the base's chat template {reason}; take format=plain")

    def write(self, messages: Sequence[Message], asks: bool = False) -> str:
        """The template's text of messages. `asks`: with the beginning of the next answer."""
        try:
            text = self.policy.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=asks, **self.arguments
            )
        except Exception as error:  # a template is somebody's program, and may raise anything
            raise CheckpointError(
                "format",
                "chat",
                f"the base's chat template raises {first_line(error)[:160]}; take format=plain",
            ) from None
        return str(text)

    def _writes_system(self) -> bool:
        try:
            return RULES in self.write([as_message(SYSTEM, RULES), as_message(USER, QUESTION)])
        except CheckpointError:
            return False

    def _leading(self, before: str) -> str:
        """What stands between the end of a prompt and an answer, by what stands before an answer."""
        if before.startswith(self.beginning):
            return before.removeprefix(self.beginning)
        if self.beginning.startswith(before) and THOUGHT in self.beginning[len(before) :]:
            return f"\n{THOUGHT_END}\n\n"  # the prompt opens a thought, which an answer must close
        self._refuse("writes an answer elsewhere than after its prompt")

    def _closing(self, after: str) -> tuple[int, str]:
        """The token that closes an answer, and the text up to its end, by what stands after an answer."""
        special = self.policy.special_tokens
        found = [
            (after.index(text), token, text) for token, text in special.items() if text and text in after
        ]
        if not found:  # a template of words alone; what a completion ends with is then our own
            return self.policy.eos, special.get(self.policy.eos, "")
        at, token, text = min(found)
        return token, after[: at + len(text)]

    def _rewriting(self, question: Message, answer: Message) -> str:
        """What stands otherwise in the whole conversation than in its parts."""
        whole = self.write([question, answer, as_message(USER, NEXT)], asks=True)
        if ANSWER not in whole:
            return "leaves out earlier answers"
        if self.close not in whole:
            return "closes no answer with a token of its own, and here end-of-text does"
        mine = self.beginning + self.lead + ANSWER + self.close
        if whole != mine + self.between(NEXT):
            return "writes earlier answers otherwise once new messages follow"
        return ""

    def opening(self, observation: str, instructions: str) -> str:
        """The text of a prompt: instructions as the system turn, or before the first message."""
        if instructions and not self.takes_system:
            observation = f"{instructions}\n\n{observation}"
        system = [as_message(SYSTEM, instructions)] if instructions and self.takes_system else []
        return self.write([*system, as_message(USER, observation)], asks=True)

    def between(self, observation: str) -> str:
        """The text from the end of an answer to the beginning of the next one."""
        said = [as_message(USER, QUESTION), as_message(ASSISTANT, ANSWER), as_message(USER, observation)]
        after = self.write(said, asks=True).rpartition(ANSWER)[2]
        return after.removeprefix(self.close)

    def completion(self, text: str) -> str:
        """An answer as the template writes it, from the end of the prompt to the closing token."""
        return f"{self.lead}{text}{self.close}"

    def _tokens(self, text: str) -> Tokens:
        """Tokens of a text in which the template's marks are single tokens."""
        return tuple(self.policy.tokenizer.encode(text, add_special_tokens=False))

    def tokens_after(self, before: str, text: str) -> Tokens:
        """Tokens that `text` adds where it follows `before`. A tokenizer may write a text otherwise where it
        stands alone, with a space of its own."""
        known, both = self.tokens(before), self.tokens(before + text)
        return both[len(known) :] if both[: len(known)] == known else self.tokens(text)
