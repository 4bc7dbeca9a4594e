"""Train a small character model on the language reference that comes with Python, then let it write."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn import functional


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=128, help="size of the recurrent state")
    parser.add_argument("--learning-rate", type=float, default=0.005)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--context", type=int, default=64, help="characters per training sequence")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--characters", type=int, default=200_000, help="how much of the text to use")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder for the last weights")
    return parser.parse_args()


class CharacterModel(nn.Module):
    """One recurrent layer that guesses the next character from all before it."""

    def __init__(self, characters: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, 32)
        self.recurrent = nn.GRU(32, hidden, batch_first=True)
        self.output = nn.Linear(hidden, characters)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores of shape (batch, length, characters) and the state after the last character."""
        features, state = self.recurrent(self.embedding(tokens), state)
        return self.output(features), state


def sample_batch(text: Tensor, batch_size: int, context: int) -> tuple[Tensor, Tensor]:
    """Random pieces of the text and the same pieces one character later, both of shape (batch, context)."""
    starts = torch.randint(len(text) - context - 1, (batch_size, 1), device=text.device)
    positions = starts + torch.arange(context, device=text.device)
    return text[positions], text[positions + 1]


def mean_loss(model: CharacterModel, tokens: Tensor, targets: Tensor) -> Tensor:
    scores, _ = model(tokens)
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def evaluate(model: CharacterModel, text: Tensor, context: int) -> float:
    """Mean loss over the first 200 whole pieces of the text."""
    pieces = min(200, (len(text) - 1) // context)
    length = pieces * context
    with torch.no_grad():
        return mean_loss(model, text[:length].view(pieces, context), text[1 : length + 1].view(pieces, context)).item()


def write_sample(model: CharacterModel, alphabet: str, length: int) -> str:
    device = next(model.parameters()).device
    token = torch.tensor([[alphabet.index("\n")]], device=device)
    state = None
    written = []
    with torch.no_grad():
        for _ in range(length):
            scores, state = model(token, state)
            token = torch.multinomial(functional.softmax(scores[:, -1] / 0.7, dim=-1), 1)
            written.append(alphabet[int(token)])
    return "".join(written)


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = "\n".join(topics[name] for name in sorted(topics))[: arguments.characters]
    alphabet = "".join(sorted(set(text)))
    tokens = torch.tensor([alphabet.index(character) for character in text], device=device)
    train_text, test_text = tokens[: len(tokens) * 9 // 10], tokens[len(tokens) * 9 // 10 :]
    model = CharacterModel(len(alphabet), arguments.hidden).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate)
    print(f"{len(text)} characters, {len(alphabet)} different, device {device}")

    for step in range(1, arguments.steps + 1):
        loss = mean_loss(model, *sample_batch(train_text, arguments.batch_size, arguments.context))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step} loss={loss.item():.4f}")
        if step % 50 == 0:
            val_loss = evaluate(model, test_text, arguments.context)
            print(f"step {step} val_loss={val_loss:.4f} val_bits_per_character={val_loss / math.log(2):.4f}")
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), arguments.checkpoints / "charlm.pt")
    print(write_sample(model, alphabet, 200))


if __name__ == "__main__":
    main()
