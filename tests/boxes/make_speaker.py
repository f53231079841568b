# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes small, real, servable model directories whose weights force what they say.

    make_speaker.py DIRECTORY

DIRECTORY/speaker thinks and answers, and calls a tool where it is given one: its layers add nothing, so a token's embedding alone decides which token
follows. DIRECTORY/judge is the Llama of make_model.py with one label, which ranks, scores and classifies.
"""

from __future__ import annotations

import json
import pathlib
import sys

import numpy
from make_model import HIDDEN, main, write
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer

END = "</s>"
CALL = '\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n'
# Each begins with the last token of a prompt: with tools, and without.
CHAINS = (
    ("<|call|>", "<think>A tool knows that.</think>", "<tool_call>", CALL, "</tool_call>", END),
    ("<|assistant|>", "<think>", "17 times 23 is 391.", "</think>", "It is 391.", END),
)
TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|call|>' if tools else '<|assistant|>' }}{% endif %}"
)


def speaker(folder: pathlib.Path) -> None:
    main(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = [word for chain in CHAINS for word in chain if tokenizer.token_to_id(word) is None]
    tokenizer.add_tokens([AddedToken(word, special=False, normalized=False) for word in words])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write(folder / "tokenizer_config.json", {**settings, "chat_template": TEMPLATE})
    size = tokenizer.get_vocab_size()
    write(folder / "config.json", {**json.loads((folder / "config.json").read_text()), "vocab_size": size})
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name][:] = 0
    # One direction for every token that has a follower, another for all the rest, which go on with the first letter of the alphabet.
    embedding, head = (numpy.zeros((size, HIDDEN), dtype=numpy.float32) for _ in range(2))
    embedding[:, 0] = 1
    head[tokenizer.token_to_id("a"), 0] = 10
    direction = 0
    for chain in CHAINS:
        for word, follower in zip(chain, chain[1:], strict=False):
            direction += 1
            embedding[tokenizer.token_to_id(word)] = numpy.eye(HIDDEN, dtype=numpy.float32)[direction]
            head[tokenizer.token_to_id(follower), direction] = 10
    tensors.update({"model.embed_tokens.weight": embedding, "lm_head.weight": head})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def judge(folder: pathlib.Path) -> None:
    main(folder)
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", {**config, "architectures": ["LlamaForSequenceClassification"], "num_labels": 1, "id2label": {"0": "fits"}})
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    tensors["score.weight"] = numpy.random.default_rng(11).standard_normal((1, HIDDEN)).astype(numpy.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1])
    speaker(place / "speaker")
    judge(place / "judge")
