"""A language model in two files: this program, and its weights in the file of the same name beside it.

It needs Python and NumPy, nothing else, and no network. `python policy.py --help` says how it is asked.

The weights file is in the safetensors format. Its metadata has the sizes of the model, the tokenizer, and
what stands before and after a question. The model is of the Llama family (RMSNorm, rotary positions,
grouped-query attention, SwiGLU); it computes in fp32, one token at a time, and keeps keys and values. Letters
at the end of a name are the axes of an array: T new tokens, S all tokens so far, H heads, D head dimension,
C width, V vocabulary.
"""

import argparse
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    sys.exit(f"{Path(__file__).name}: needs NumPy: pip install numpy")

Array = NDArray[Any]  # of fp32, whose axes its name says
NUMBERS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
}  # of the safetensors format
SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space
NEVER = "\ud800"  # in no text, so that a set of characters is never empty


class CannotAnswerError(ValueError):
    """A question or a file cannot be used. The message says why."""


def read_weights(file: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors by name, in fp32, and what the file says of the policy. Raises CannotAnswerError."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        about = json.loads(header.pop("__metadata__")["policy"])
        data, tensors = np.memmap(file, np.uint8, "r", 8 + length), {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            stored = data[start:end].view(NUMBERS[entry["dtype"]]).reshape(entry["shape"])
            tensors[name] = np.asarray(stored, np.float32)  # fp32 stays on the disk until it is read
    except (OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise CannotAnswerError(f"{file.name}: no weights of a policy, or cut off ({error})") from None
    return tensors, about


def byte_letters() -> list[str]:
    """The letter for each byte in byte-level vocabularies (GPT-2's): itself where it can be printed."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in shown else next(others)) for byte in range(256)]


LETTERS = byte_letters()
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}


def with_sets(pattern: str, text: str) -> str:
    r"""The pattern with \p{L} and its like written as the characters of `text` that they mean, and \s as
    Unicode's: Python's `re` knows no categories."""
    parts, inside = [], False
    for part in re.findall(r"\\p\{\w+\}|\\.|.", pattern, re.DOTALL):
        inside = {"[": True, "]": False}.get(part, inside)
        if part == r"\S":
            part = f"[^{SPACE}]"
        elif part == r"\s" or part.startswith(r"\p"):
            members = SPACE
            if part != r"\s":
                found = {c for c in text if unicodedata.category(c).startswith(part[3:-1])}
                members = "".join(map(re.escape, sorted(found))) + NEVER
            part = members if inside else f"[{members}]"
        parts.append(part)
    return "".join(parts)


class Tokenizer:
    """Byte-pair encoding (Sennrich et al. 2016), over bytes or over characters with bytes for the rest.

    vocabulary: token by text; special: those that stand for no text; marks: those that are found in a text
    splits: patterns that cut a text into words; merges: pairs of texts, the first to be joined first
    byte_level: texts are written in `LETTERS`; whole_words: a word that is a token is not built of pairs
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.vocabulary: dict[str, int] = spec["vocabulary"]
        self.texts = {token: text for text, token in self.vocabulary.items()}
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(spec["merges"])}
        self.special, self.marks = set(spec["special"]), set(spec["marks"])
        self.splits: list[str] = spec["splits"]
        self.form: Any = spec["normal_form"]
        self.byte_level, self.whole_words = bool(spec["byte_level"]), bool(spec["whole_words"])
        longest_first = sorted(self.marks, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = []
        for n, piece in enumerate(self._marks.split(text) if self._marks else [text]):
            if n % 2:
                tokens.append(self.vocabulary[piece])
                continue
            for word in self._words(unicodedata.normalize(self.form, piece) if self.form else piece):
                if word not in self._known:
                    self._known[word] = self._join(word)
                tokens += self._known[word]
        return tokens

    def _words(self, text: str) -> list[str]:
        words = [text] if text else []
        for pattern in self.splits:
            words = [part for word in words for part in cut(pattern, word)]
        return words

    def _join(self, word: str) -> list[int]:
        """The tokens of a word: the pair that is first in `merges` is joined wherever it is, and again."""
        parts: list[str] = []
        if self.byte_level:
            parts = [LETTERS[byte] for byte in word.encode("utf-8", "replace")]
            if self.whole_words and (token := self.vocabulary.get("".join(parts))) is not None:
                return [token]
        else:
            for c in word:
                known = c in self.vocabulary
                parts += [c] if known else [f"<0x{byte:02X}>" for byte in c.encode("utf-8", "replace")]
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            first = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if first not in self.ranks:
                break
            joined, i = [], 0
            while i < len(parts):
                both = tuple(parts[i : i + 2]) == first
                joined.append("".join(first) if both else parts[i])
                i += 1 + both
            parts = joined
        return [self.vocabulary[part] for part in parts if part in self.vocabulary]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without the special ones."""
        texts = [self.texts[token] for token in tokens if token not in self.special and token in self.texts]
        if self.byte_level:
            return b"".join(map(_bytes, texts)).decode("utf-8", "replace")
        written = ""
        for text in re.findall(r"(?:<0x[0-9A-F]{2}>)+|.", "".join(texts), re.DOTALL):
            if len(text) < 6:
                written += text
                continue
            data = bytes.fromhex(text.replace("<0x", "").replace(">", ""))
            try:
                written += data.decode()
            except UnicodeDecodeError:
                written += "\ufffd" * len(data)
        return written


def cut(pattern: str, text: str) -> Iterator[str]:
    """What matches in a text, and what stands between."""
    end = 0
    for match in re.finditer(with_sets(pattern, text), text):
        yield from (part for part in (text[end : match.start()], match[0]) if part)
        end = match.end()
    if end < len(text):
        yield text[end:]


def _bytes(text: str) -> bytes:
    try:
        return bytes(BYTES[letter] for letter in text)
    except KeyError:  # a mark, which is written as it is
        return text.encode()


class Cache:
    """Keys and values of the tokens so far, in all layers."""

    def __init__(self, layers: int, kv_heads: int, positions: int, head_dim: int) -> None:
        self.keys = np.zeros((layers, kv_heads, positions, head_dim), np.float32)
        self.values, self.length = np.zeros_like(self.keys), 0


class Policy:
    """The model of a weights file. `ask` makes the prompt of a question, `generate` an answer's tokens."""

    def __init__(self, file: Path) -> None:
        self.tensors, self.about = read_weights(file)
        sizes = self.about["sizes"]
        self.layers, self.heads, self.kv_heads = sizes["layers"], sizes["heads"], sizes["kv_heads"]
        self.head_dim, self.eps, self.windows = sizes["head_dim"], sizes["eps"], sizes["windows"]
        self.context: int = sizes["context"]
        self.tokenizer = Tokenizer(self.about["tokenizer"])
        self.ends = set(self.about["ends"])

    def ask(self, question: str) -> list[int]:
        """The tokens of a prompt."""
        given = self.about["prompt"]
        text = given["before"] + (question.strip() if given["strip"] else question) + given["after"]
        tokens, begin = self.tokenizer.encode(text), given["begin"]
        return tokens if tokens[: len(begin)] == begin else begin + tokens

    def choices(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of answers to choose among; if one begins another, all have the end of an answer."""
        tokens = [self.tokenizer.encode(text) for text in texts]
        if any(a != b and b[: len(a)] == a for a in tokens for b in tokens):
            return [[*choice, self.about["end"]] for choice in tokens]
        return tokens

    def generate(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        choices: Sequence[Sequence[int]] = (),
    ) -> Iterator[int]:
        """An answer's tokens as they come. temperature 0: the likeliest ones. Raises CannotAnswerError."""
        longest = self.context - len(prompt)
        if not prompt or longest < 1:
            raise CannotAnswerError(
                f"a question of {len(prompt)} tokens: it may have 1 to {self.context - 1}"
            )
        rng = np.random.default_rng(seed)
        # A step that is not taken needs no room, and the last token's keys nobody reads.
        positions = len(prompt) + min(max_new_tokens, longest)
        cache = Cache(self.layers, self.kv_heads, positions, self.head_dim)
        new, answer = list(prompt), list[int]()
        while len(answer) < min(max_new_tokens, longest):
            logits_V = self.logits(new, cache)
            if choices:
                allowed = {c[len(answer)] for c in choices if list(c[: len(answer)]) == answer}
                masked_V = np.full_like(logits_V, -np.inf)
                masked_V[list(allowed)] = logits_V[list(allowed)]
                logits_V = masked_V
            new = [draw(logits_V, temperature, rng)]
            answer += new
            yield answer[-1]
            if answer[-1] in self.ends or answer in [list(c) for c in choices]:
                return

    def logits(self, tokens: Sequence[int], cache: Cache) -> Array:
        """Logits of what follows the last of these new tokens, which the cache then holds."""
        w, T, start = self.tensors, len(tokens), cache.length
        x_TC = w["embedding"][list(tokens)]
        angles_TD = np.outer(np.arange(start, start + T, dtype=np.float32), w["inverse_frequencies"])
        scale = np.float32(self.about["sizes"]["rotary_scale"])
        cos_TD, sin_TD = (np.tile(f(angles_TD) * scale, 2) for f in (np.cos, np.sin))
        for i in range(self.layers):
            h_TC = norm(x_TC, w[f"{i}.norm1"], self.eps)
            qkv_HTD = self._product(f"{i}.qkv", h_TC).reshape(T, -1, self.head_dim).swapaxes(0, 1)
            q, k, v = np.split(qkv_HTD, [self.heads, self.heads + self.kv_heads])
            if f"{i}.q_norm" in w:
                q, k = norm(q, w[f"{i}.q_norm"], self.eps), norm(k, w[f"{i}.k_norm"], self.eps)
            cache.keys[i, :, start : start + T] = rotate(k, cos_TD, sin_TD)
            cache.values[i, :, start : start + T] = v
            o_HTD = self._attend(i, rotate(q, cos_TD, sin_TD), cache, start + T)
            x_TC = x_TC + self._product(f"{i}.out", o_HTD.swapaxes(0, 1).reshape(T, -1))
            h_TC = norm(x_TC, w[f"{i}.norm2"], self.eps)
            gate, up = np.split(self._product(f"{i}.gate_up", h_TC), 2, axis=-1)
            with np.errstate(over="ignore"):  # exp of a large number is infinite, and the quotient 0
                x_TC = x_TC + self._product(f"{i}.down", gate / (1 + np.exp(-gate)) * up)
        cache.length += T
        logits_V: Array = norm(x_TC[-1], w["norm"], self.eps) @ w.get("head", w["embedding"]).T
        return logits_V

    def _product(self, name: str, x_TC: Array) -> Array:
        bias = self.tensors.get(f"{name}.bias")
        y = x_TC @ self.tensors[name].T
        return y if bias is None else y + bias

    def _attend(self, i: int, q_HTD: Array, cache: Cache, S: int) -> Array:
        """Attention of the last T of S positions to all before them, or to the layer's window of them."""
        (H, T, D), window = q_HTD.shape, self.windows[i] or S
        first = max(0, S - T + 1 - window)  # the first position that any of them sees
        k, v = cache.keys[i, :, first:S], cache.values[i, :, first:S]
        shared = q_HTD.reshape(self.kv_heads, -1, D)  # the queries that read the same keys
        scores = (shared @ k.swapaxes(1, 2) / np.float32(D**0.5)).reshape(H, T, -1)
        apart_TS = np.arange(S - T, S)[:, None] - np.arange(first, S)
        scores[:, (apart_TS < 0) | (apart_TS >= window)] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        o_HTD: Array = (p.reshape(self.kv_heads, -1, S - first) @ v).reshape(H, T, D)
        return o_HTD


def norm(x: Array, weight: Array, eps: float) -> Array:
    """RMSNorm (Zhang & Sennrich 2019)."""
    scale: Array = np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(eps))
    return x / scale * weight


def rotate(x_HTD: Array, cos_TD: Array, sin_TD: Array) -> Array:
    """Rotary positions (Su et al. 2021), the two halves of a head as pairs."""
    a, b = np.split(x_HTD, 2, axis=-1)
    turned_HTD: Array = x_HTD * cos_TD + np.concatenate([-b, a], -1) * sin_TD
    return turned_HTD


def draw(logits_V: Array, temperature: float, rng: np.random.Generator) -> int:
    """The likeliest token at temperature 0, else one of the distribution."""
    if temperature == 0:
        return int(logits_V.argmax())
    scaled_V = logits_V.astype(np.float64) / temperature
    cumulative_V = np.exp(scaled_V - scaled_V.max()).cumsum()
    return int(np.searchsorted(cumulative_V, rng.random() * cumulative_V[-1], side="right"))


def answer(policy: Policy, question: str, options: argparse.Namespace) -> None:
    """Print the answer as it comes, and a line's end."""
    limit = options.max_new_tokens or policy.about["max_new_tokens"]
    given = limit, options.temperature, options.seed, policy.choices(options.choice)
    tokens, shown = list[int](), ""
    for token in policy.generate(policy.ask(question), *given):
        tokens.append(token)
        text = policy.tokenizer.decode([t for t in tokens if t not in policy.ends])
        # Half of a character is not written before the other half has come.
        if not options.tokens and not text.endswith("\ufffd"):
            print(text[len(shown) :], end="", flush=True)
            shown = text
    if options.tokens:
        print(json.dumps(tokens), flush=True)
    else:
        print(policy.tokenizer.decode([t for t in tokens if t not in policy.ends])[len(shown) :], flush=True)


def main() -> int:
    """Exit status 0, or 2 with one line for a question or a file that cannot be used."""
    parser = argparse.ArgumentParser(description="Ask a language model. It needs Python and NumPy only.")
    parser.add_argument("question", nargs="?", help="(questions from standard input, one a line)")
    parser.add_argument("--max-new-tokens", type=int, help="at most so many (as in its training)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default: the likeliest tokens")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    parser.add_argument(
        "--choice", action="append", default=[], help="one answer to choose among; repeatable"
    )
    parser.add_argument("--tokens", action="store_true", help="print the numbers of the answer's tokens")
    parser.add_argument("--weights", type=Path, default=Path(__file__).with_suffix(".safetensors"))
    parser.add_argument("--about", action="store_true", help="say what the weights file says of itself")
    options = parser.parse_args()
    least = {"temperature": 0, "seed": 0, "max_new_tokens": 1}
    for name, smallest in least.items():
        if (value := getattr(options, name)) is not None and not value >= smallest:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least {smallest}")
    try:
        policy = Policy(options.weights)
        if options.about:
            print(policy.about["card"])
        elif options.question is not None:
            answer(policy, options.question, options)
        else:
            answer_lines(policy, options)
    except CannotAnswerError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def answer_lines(policy: Policy, options: argparse.Namespace) -> None:
    """Answer each line of standard input, to its end. \\n in a line is a new line."""
    asks = "> " if sys.stdin.isatty() else ""
    print(asks, end="", flush=True)
    for line in sys.stdin:
        if question := line.rstrip("\n").replace("\\n", "\n"):
            try:
                answer(policy, question, options)
            except CannotAnswerError as error:
                print(error, file=sys.stderr)
        print(asks, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
