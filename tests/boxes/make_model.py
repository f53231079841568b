# Copyright (c) 2026, gb10.vllm contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a small, real, servable model directory: a Llama with random float32 weights, a tokenizer and a chat template.

    make_model.py DIRECTORY

It answers with words that mean nothing, as random weights must. The same script always makes the same bytes.
"""

from __future__ import annotations

import json
import pathlib
import sys

import numpy
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = """The quick brown fox jumps over the lazy dog. A small box on the desk answers every question that people ask of it.
Memory is shared between the processor and the graphics chip, so the engine must leave room for the operating system.
Good morning, how are you today? I am well, thank you. Tell me a story about the sea, the wind and the long way home.
"""
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INTERMEDIATE = 64, 2, 4, 2, 32, 128


def make_tokenizer(folder: pathlib.Path) -> int:
    """Byte-level BPE over a few sentences; returns the number of tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "model_max_length": 4096, "clean_up_tokenization_spaces": False, "chat_template": TEMPLATE,
    })  # fmt: skip
    return tokenizer.get_vocab_size()


def make_weights(folder: pathlib.Path, vocabulary: int) -> None:
    dice = numpy.random.default_rng(10)

    def random(*shape: int, scale: float = 0.1) -> numpy.ndarray:
        return (dice.standard_normal(shape) * scale).astype(numpy.float32)

    # Every embedding shares one direction and the special tokens' output rows point the other way, so an answer
    # never ends early or shows control tokens; bytes that are no letters are held down in the same way.
    common = random(HIDDEN, scale=1.0)
    head = random(vocabulary, HIDDEN, scale=0.2)
    head[: len(SPECIAL) + 256] -= common
    tensors = {"model.embed_tokens.weight": random(vocabulary, HIDDEN, scale=0.7) + common, "lm_head.weight": head}
    tensors["model.norm.weight"] = numpy.ones(HIDDEN, dtype=numpy.float32)
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{name}.{norm}.weight"] = numpy.ones(HIDDEN, dtype=numpy.float32)
        for kind, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            tensors[f"{name}.self_attn.{kind}_proj.weight"] = random(rows * HEAD_DIM, HIDDEN)
        tensors[f"{name}.self_attn.o_proj.weight"] = random(HIDDEN, HEADS * HEAD_DIM)
        tensors[f"{name}.mlp.gate_proj.weight"] = random(INTERMEDIATE, HIDDEN)
        tensors[f"{name}.mlp.up_proj.weight"] = random(INTERMEDIATE, HIDDEN)
        tensors[f"{name}.mlp.down_proj.weight"] = random(HIDDEN, INTERMEDIATE)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def write(path: pathlib.Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = make_tokenizer(folder)
    make_weights(folder, vocabulary)
    write(folder / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "torch_dtype": "float32",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "vocab_size": vocabulary, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "transformers_version": "5.0.0",
    })  # fmt: skip
    write(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "do_sample": True, "temperature": 1.0})


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
