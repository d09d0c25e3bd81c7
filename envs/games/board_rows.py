"""The rows of a board in the text of a position."""


def board_rows(text: str) -> list[str]:
    """Of a position's text without who moves: between slashes, or of a square."""
    return text.split("/") if "/" in text else square_rows(text)


def square_rows(board: str) -> list[str]:
    """The rows of a square board that is written without separators."""
    side = max(1, int(len(board) ** 0.5))
    return [board[i : i + side] for i in range(0, len(board), side)]
