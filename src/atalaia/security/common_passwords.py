"""Which long passwords are tried first: those made of nothing but common pieces.

Lists of common passwords hold few of 15 characters. What people write when they must be long is
short ones one after the other (`password12345678`, `qwertyqwerty2024`), so the pieces are listed
here, by the lists of leaked passwords in English and Portuguese.
"""

from collections.abc import Sequence

_WORDS = """
    abc abcd abcdef abcdefg abcdefgh access admin administrator amor angel apple asd asdf asdfgh
    asdfghjkl atalaia banana baseball batman benfica brasil brazil casa changeme charlie cheese
    computer corinthians dallas daniel default deus dragon family flamengo flower football forever
    freedom friend futebol gabriel gmail google guest hello hunter ihateyou iloveyou internet jesus
    jordan killer letmein livre login love lovely manager master matrix maria michael monkey mustang
    mynameis naruto ninja office orange pass passcode passphrase passw0rd password p@ssw0rd p@ssword
    palmeiras pokemon portugal princess princesa
    qaz wsx edc qwe qwer qwert qwerty qwertyuiop root samsung
    santos saopaulo secret segredo senha senhas sensor sensors server shadow soccer starwars summer
    sunshine superman system teamo test teste testing thomas trustno1 tower user usuario vasco
    welcome whatever winter zxc zxcv zxcvbn zxcvbnm
    correcthorsebatterystaple thequickbrownfox
"""

WORDS = frozenset(_WORDS.split())
_ROWS = (
    "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "abcdefghijklmnopqrstuvwxyz",
    "1q2w3e4r5t6y7u8i9o0p", "q1w2e3r4t5y6u7i8o9p0", "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm",
)  # fmt: skip
MOST_PIECES = 6
"""Beyond so many words in a row nobody tries them all, however common each is."""


def is_common(password: str, own: Sequence[str] = ()) -> bool:
    """Whether it is made of common words, years, runs and repetitions alone. own: words that
    everybody knows of this user.
    """
    text = password.casefold()
    words = WORDS | {word.casefold() for word in own if word}
    # pieces[n]: the fewest pieces that make the first n characters.
    pieces = [0] + [len(text) + 1] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            piece = text[start:end]
            if piece in words or _is_idle(piece):
                pieces[end] = min(pieces[end], pieces[start] + 1)
    return pieces[-1] <= MOST_PIECES


def _is_idle(piece: str) -> bool:
    """One character or a short piece over and over, a run of the keyboard or alphabet, a mark."""
    if len(piece) == 1:
        return not piece.isalpha()
    for unit in range(1, min(4, len(piece) // 2) + 1):
        if piece == (piece[:unit] * len(piece))[: len(piece)]:
            return True
    if piece.isdigit() and len(piece) == 4 and piece[:2] in ("19", "20"):
        return True
    return any(piece in row or piece[::-1] in row for row in _ROWS if len(piece) >= 3)
