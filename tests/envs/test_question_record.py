"""One record: where its question, its answer and its worked answers are, or what is said of it."""

from typing import Any

import pytest
from data_sets import ALPACA, CHATS, COLUMNS, GSM, OPEN_R1, SHARED, VERL, chat

from shuhari.envs.files.errors import Malformed
from shuhari.envs.files.question_record import Question, question_of


@pytest.mark.parametrize(
    ("record", "columns", "found"),
    [
        # Of two generations one is marked as wrong.
        (OPEN_R1[3], {}, Question("p 3", "3", ("<think>hm</think>\\boxed{3}",))),
        (
            {k: v for k, v in OPEN_R1[3].items() if not k.startswith("correct")},
            {},
            Question("p 3", "3", ("<think>hm</think>\\boxed{3}", "cut\n#### 3")),
        ),
        (CHATS[3], {}, Question("p 3", "\\boxed{3}", ("\\boxed{3}",))),
        (SHARED[3], {}, Question("p 3", "#### 3", ("#### 3",))),
        (SHARED[3] | {"system": "S"}, {}, Question("p 3", "#### 3", ("#### 3",), "S")),
        (CHATS[3] | {"answer": 3.5}, {}, Question("p 3", "3.5", ("\\boxed{3}",))),
        (
            {"messages": chat("q", "It is 4.", system="S"), "answer": "4"},
            {},
            Question("q", "4", ("It is 4.\n#### 4",), "S"),
        ),
        ({"prompt": chat("q", system="S"), "gold": ["4"]}, {}, Question("q", "4", (), "S")),
        ({"prompt": chat("q", "#### 4")}, {}, Question("q", "#### 4", ("#### 4",))),
        (
            {"question": "q", "messages": chat("q Think.", "w"), "answer": "4"},
            {},
            Question("q", "4", ("w\n#### 4",)),
        ),
        (
            {"question": "q", "trace": "t", "answer": "4", "messages": chat("a", "b", "c", "d")},
            {},
            Question("q", "4", ("t",)),
        ),
        (
            {"problem": "p", "solution": "s", "answer": "w\n#### 1"},
            {},
            Question("p", "w\n#### 1", ("s\n#### 1",)),
        ),
        (VERL[3], COLUMNS, Question("q 3?", "4", (GSM[3]["answer"],))),
        (VERL[3], {"answer": COLUMNS["answer"]}, Question("q 3? Think.", "4", (), "Think.")),
        (
            VERL[3],
            {**COLUMNS, "question": "prompt.-1.content", "instructions": "prompt.0.content"},
            Question("q 3? Think.", "4", (GSM[3]["answer"],), "Think."),
        ),
        ({"a.b": "q", "c": '{"d": [1, 2]}'}, {"question": "a.b", "answer": "c.d.1"}, Question("q", "2")),
        (OPEN_R1[3], {"trace": "messages"}, Question("p 3", "3", ("\\boxed{3}",))),
    ],
)
def test_shapes_of_one_record(record: Any, columns: dict[str, str], found: Question) -> None:
    assert question_of(record, columns) == found


@pytest.mark.parametrize(
    ("record", "reason", "advice"),
    [
        (VERL[0], "no 'answer'", "give 'env_args.columns={answer: reward_model.ground_truth, trace: extra"),
        (ALPACA[0], "no 'question'", "give 'env_args.columns={question: instruction, answer: output}'"),
        ({"query": "q", "x": {"label": "[1, 2]"}}, "no 'question'", "{question: query, answer: x.label}"),
        ({"prompt": "q", "completion": "4"}, "no 'answer'", "give 'env_args.columns={answer: completion}'"),
        ({"x": {"y": [{"z": 1}]}}, "no 'question'", "or give 'env_args.columns={question: COLUMN}'"),
        ({"question": "q", "answer": ["1", "2"]}, "'answer' is not a string, but a list of 2 values", ""),
        ({"question": "q", "answer": True}, "'answer' is not a string, but true", ""),
        (
            {"messages": chat("a", "b", "c", "d")},
            "its list of messages has 2 turns of the user",
            "takes every turn",
        ),
        (
            {"prompt": chat("a", "b", "c"), "answer": "1"},
            "'prompt' has 2 turns of the user",
            "takes every turn",
        ),
        (
            {"question": "q", "answer": "1", "messages": chat("other", "w")},
            "answers another question",
            "trace: COLUMN}",
        ),
        ({"messages": chat("q")}, "no 'answer'", ""),
        ({"messages": "hello"}, "'messages' is not a list of messages (role, content), but \"hello\"", ""),
    ],
)
def test_a_record_without_question_and_answer_says_why(record: Any, reason: str, advice: str) -> None:
    with pytest.raises(Malformed) as refused:
        question_of(record)
    assert reason in str(refused.value)
    assert advice in refused.value.advice
