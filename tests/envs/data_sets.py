"""Records of the shapes that known data sets have."""

GSM = [{"question": f"q {n}?", "answer": f"{n}+1={n + 1}\n#### {n + 1}"} for n in range(20)]
VERL = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": f"{row['question']} Think."},
        ],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": row["answer"].partition("#### ")[2]},
        "extra_info": {"split": "train", "index": n, "answer": row["answer"], "question": row["question"]},
    }
    for n, row in enumerate(GSM)
]
OPEN_R1 = [
    {
        "problem": f"p {n}",
        "solution": "short",
        "answer": str(n),
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "olympiads",
        "uuid": f"u{n}",
        "is_reasoning_complete": [True, False],
        "generations": [f"<think>hm</think>\\boxed{{{n}}}", "cut"],
        "correctness_math_verify": [True, False],
        "finish_reasons": None,
        "messages": [
            {"role": "user", "content": f"p {n}"},
            {"role": "assistant", "content": f"\\boxed{{{n}}}"},
        ],
    }
    for n in range(20)
]
CHATS = [{"messages": row["messages"]} for row in OPEN_R1]
SHARED = [
    {"conversations": [{"from": "human", "value": f"p {n}"}, {"from": "gpt", "value": f"#### {n}"}]}
    for n in range(20)
]
ALPACA = [{"instruction": f"p {n}", "output": str(n)} for n in range(20)]
COLUMNS = {
    "question": "extra_info.question",
    "answer": "reward_model.ground_truth",
    "trace": "extra_info.answer",
}


def chat(*texts: str, system: str = "") -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    said = [{"role": "system", "content": system}] if system else []
    return said + [
        {"role": role, "content": text} for text, role in zip(texts, ("user", "assistant") * 9, strict=False)
    ]
