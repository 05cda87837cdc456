"""Editing keys of the input in a log's last row: cursor, words, deletion, longest text;
widgets/text_line.py is the input of dialogs. Pure: keys in, text out."""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST = 4096
"""Characters: the longest path."""


@dataclass(frozen=True, slots=True)
class LineEdit:
    """A text and the place of the cursor in it."""

    text: str = ""
    at: int = 0

    @classmethod
    def of(cls, text: str) -> LineEdit:
        """A text with the cursor at the end."""
        return cls(text, len(text))

    def insert(self, text: str) -> LineEdit:
        """Insert typed or pasted text; a line break ends it."""
        room = max(0, MOST - len(self.text))
        kept = "".join(char for char in text.partition("\n")[0] if char.isprintable())[:room]
        return LineEdit(self.text[: self.at] + kept + self.text[self.at :], self.at + len(kept))

    def key(self, key: str, character: str | None) -> LineEdit | None:
        """The result of a key; None if the key has no meaning here."""
        place = {"left": self.at - 1, "right": self.at + 1, "home": 0, "end": len(self.text)}
        if key in place:
            return replace(self, at=max(0, min(len(self.text), place[key])))
        if key == "backspace":
            kept = self.text[: max(0, self.at - 1)]
            return LineEdit(kept + self.text[self.at :], len(kept))
        if key == "delete":
            return replace(self, text=self.text[: self.at] + self.text[self.at + 1 :])
        if key == "ctrl+u":
            return LineEdit(self.text[self.at :], 0)
        if character is not None and character.isprintable():
            return self.insert(character)
        return None
