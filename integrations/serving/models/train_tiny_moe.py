#!/usr/bin/env python3
"""Train a small Qwen3-MoE language model whose routed experts are native INT4.

The model is Hugging Face's `Qwen3MoeForCausalLM` at toy size. Its routed experts are trained by
quantisation-aware training (QAT): in the forward pass their weights are rounded to symmetric INT4 in
groups of 32 along the input dimension with a bf16 scale a group; gradients pass straight through the
rounding to fp32 master weights. Everything else is bf16. The result is what Kimi-K2-Thinking ships:
a checkpoint in compressed-tensors' `pack-quantized` form.

    prepare   books (JSONL: author, title, text) -> byte-level BPE tokenizer, train.bin, val.bin
    train     phase 1 without quantisation; then phase 2 twice from the same state on the same batches:
              with INT4 experts (`qat`) and, as the control, without (`control`)
    evaluate  losses by position, drift of sampled text by length, expert load -> report.json
    export    the Hugging Face folder with packed INT4 experts

    python3 train_tiny_moe.py prepare  --books books.jsonl
    python3 train_tiny_moe.py train    --tokens 8.1e8
    python3 train_tiny_moe.py evaluate --samples 32
    python3 train_tiny_moe.py export

Files go to build/fib-tiny-moe of the repository, or where --data, --run and --out say. `train` wants one GPU of compute
capability 9.0 with 80 GB. Needs torch >= 2.8, tokenizers, safetensors, numpy.
"""

import argparse
import json
import lzma
import math
import re
import time
import unicodedata
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

END_OF_TEXT = "<|endoftext|>"  # id 0: starts every document; bos, eos and padding in one
# How text is cut into words before BPE: the pattern of the Qwen family.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GROUP = 32  # weights that share a scale
HELD_OUT = range(0, 12)  # of 1000: whole books kept for validation
WORK = Path(__file__).resolve().parents[3] / "build" / "fib-tiny-moe"


@dataclass(frozen=True)
class Config:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 8
    q_heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 32
    top_k: int = 4
    inner: int = 128  # of one expert
    positions: int = 4096
    rope_theta: float = 1e5
    eps: float = 1e-6


# ---------------------------------------------------------------------------------------------- data


def clean(text):
    """One spelling for quotation marks, spaces and line ends; no invisible characters."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    for old, new in (("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"), ("…", "...")):
        text = text.replace(old, new)
    text = re.sub("[\ufeff\u200b\u00ad]", "", text)
    text = re.sub("[\u00a0\u2000-\u200a\u202f\t]", " ", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)).strip()


def documents(book, shortest=1500):
    """The chapters of a book, each under a line that names title and author; short ones are joined."""
    head = f"{END_OF_TEXT}# {clean(book['title'])}, by {clean(book['author'])}\n\n"
    found, chapter = [], ""
    for part in re.split(r"^(?=## )", clean(book["text"]), flags=re.M):
        chapter += part
        if len(chapter) >= shortest:
            found.append(head + chapter.strip())
            chapter = ""
    return found + [head + chapter.strip()] * bool(chapter.strip())


def is_held_out(book):
    """About 1 % of the books, chosen by a hash of their name."""
    return zlib.crc32(f"{book['author']}/{book['title']}".encode()) % 1000 in HELD_OUT


def read_books(paths):
    for path in paths:
        opener = lzma.open if str(path).endswith(".xz") else open
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def train_tokenizer(texts, vocab):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def prepare(args):
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    books = sorted(read_books(args.books), key=lambda b: zlib.crc32(b["title"].encode()))
    splits = {"train": [b for b in books if not is_held_out(b)], "val": [b for b in books if is_held_out(b)]}
    with ProcessPoolExecutor() as pool:
        docs = {name: sum(pool.map(documents, chosen, chunksize=4), []) for name, chosen in splits.items()}
    tokenizer = train_tokenizer(docs["train"][::4], Config.vocab)
    tokenizer.save(str(out / "tokenizer.json"))
    facts = {}
    for name, texts in docs.items():
        ids = [np.array(e.ids, np.uint16) for i in range(0, len(texts), 2000)
               for e in tokenizer.encode_batch_fast(texts[i : i + 2000])]
        np.concatenate(ids).tofile(out / f"{name}.bin")
        facts[name] = {"books": len(splits[name]), "documents": len(texts), "tokens": sum(map(len, ids)),
                       "bytes": sum(len(t.encode()) for t in texts)}
    facts["held_out"] = [f"{b['title']}, by {b['author']}" for b in splits["val"]]
    (out / "data.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    print(json.dumps(facts, ensure_ascii=False))


def load_tokens(data, name, device):
    return torch.from_numpy(np.fromfile(Path(data) / f"{name}.bin", np.int16)).to(device)


class Batches:
    """Windows of the token stream: each epoch a new shift and order. A batch depends on its number only."""

    def __init__(self, tokens, seq, batch_tokens, seed):
        self.tokens, self.seq, self.rows, self.seed = tokens, seq, batch_tokens // seq, seed
        self.windows = (len(tokens) - 1 - seq) // seq
        self.epoch, self.starts = None, None

    def __getitem__(self, number):
        epoch, j = divmod(number, self.windows // self.rows)
        if epoch != self.epoch:
            rng = torch.Generator().manual_seed(self.seed * 1000 + epoch)
            shift = torch.randint(self.seq, (), generator=rng)
            order = torch.randperm(self.windows, generator=rng)
            self.epoch, self.starts = epoch, (order * self.seq + shift).to(self.tokens.device)
        starts = self.starts[j * self.rows : (j + 1) * self.rows]
        reach = torch.arange(self.seq + 1, device=starts.device)
        return self.tokens[starts[:, None] + reach].long()


# --------------------------------------------------------------------------------------------- model


def quantise(w):
    """w (..., out, in) -> q int in [-8, 7] of w's shape, scale bf16 (..., out, in / GROUP)."""
    groups = w.float().unflatten(-1, (-1, GROUP))
    scale = (groups.abs().amax(-1) / 7.5).clamp_min(1e-8).bfloat16()
    q = (groups / scale.float().unsqueeze(-1)).round().clamp(-8, 7)
    return q.flatten(-2), scale


def dequantise(q, scale):
    return (q.unflatten(-1, (-1, GROUP)) * scale.float().unsqueeze(-1)).flatten(-2)


class FakeInt4(torch.autograd.Function):
    """INT4 rounding in the forward pass, identity in the backward pass (straight-through estimator)."""

    @staticmethod
    def forward(ctx, w):
        return dequantise(*quantise(w)).bfloat16()

    @staticmethod
    def backward(ctx, grad):
        return grad.float()


class Permute(torch.autograd.Function):
    """rows[order]; the backward pass is a gather by the inverse, not an atomic scatter."""

    @staticmethod
    def forward(ctx, rows, order, inverse):
        ctx.save_for_backward(inverse)
        return rows[order]

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.saved_tensors[0]], None, None


def rms_norm(x, weight, eps):
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    return (y * weight).to(x.dtype)


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        heads = c.q_heads + 2 * c.kv_heads

        def matrix(*shape, scale=0.5):
            return nn.Parameter(torch.randn(*shape) * (scale / math.sqrt(shape[-1])))

        residual = 0.5 / math.sqrt(2 * c.layers)  # what is added to the stream starts smaller
        self.norm1 = nn.Parameter(torch.ones(c.hidden))
        self.qkv = matrix(heads * c.head_dim, c.hidden)
        self.q_norm = nn.Parameter(torch.ones(c.head_dim))
        self.k_norm = nn.Parameter(torch.ones(c.head_dim))
        self.out = matrix(c.hidden, c.q_heads * c.head_dim, scale=residual)
        self.norm2 = nn.Parameter(torch.ones(c.hidden))
        self.gate = matrix(c.experts, c.hidden)
        self.w13 = matrix(c.experts, 2 * c.inner, c.hidden)  # rows: gate projection, then up projection
        self.w2 = matrix(c.experts, c.hidden, c.inner, scale=residual)

    def forward(self, x, cos, sin, w13, w2):
        """x (B, S, hidden) bf16 -> the same, tokens an expert (E), balance loss."""
        x = x + self.attend(rms_norm(x, self.norm1, self.c.eps), cos, sin)
        y, load, balance = self.mix(rms_norm(x, self.norm2, self.c.eps).flatten(0, 1), w13, w2)
        return x + y.view_as(x), load, balance

    def attend(self, h, cos, sin):
        c = self.c
        qkv = F.linear(h, self.qkv.to(h.dtype)).unflatten(-1, (-1, c.head_dim))
        q, k, v = qkv.split([c.q_heads, c.kv_heads, c.kv_heads], dim=2)
        q = rotate(rms_norm(q, self.q_norm, c.eps), cos, sin).transpose(1, 2)
        k = rotate(rms_norm(k, self.k_norm, c.eps), cos, sin).transpose(1, 2)
        k, v = (t.repeat_interleave(c.q_heads // c.kv_heads, dim=1) for t in (k, v.transpose(1, 2)))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(y.transpose(1, 2).flatten(2), self.out.to(h.dtype))

    def mix(self, h, w13, w2):
        """Top-k experts without capacity: rows sorted by expert, two grouped products, rows put back."""
        c, tokens = self.c, h.shape[0]
        probability = F.linear(h, self.gate.to(h.dtype)).float().softmax(-1)
        weight, expert = probability.topk(c.top_k)
        weight = (weight / weight.sum(-1, keepdim=True)).to(h.dtype)

        ordered, order = expert.flatten().to(torch.uint8).sort(stable=True)
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=h.device))
        every = torch.arange(c.experts, device=h.device, dtype=torch.int32)
        ends = torch.searchsorted(ordered.int(), every, right=True, out_int32=True)

        rows = h[:, None].expand(-1, c.top_k, -1).reshape(-1, c.hidden)
        rows = Permute.apply(rows, order, inverse)
        gate, up = torch._grouped_mm(rows, w13.transpose(1, 2), offs=ends).chunk(2, -1)
        rows = torch._grouped_mm(F.silu(gate) * up, w2.transpose(1, 2), offs=ends)
        rows = Permute.apply(rows, inverse, order).view(tokens, c.top_k, c.hidden)
        mixed = (rows * weight[..., None]).sum(1)

        load = torch.diff(ends, prepend=ends.new_zeros(1)).float()
        balance = c.experts * (load / len(order) * probability.mean(0)).sum()
        return mixed, load, balance


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed = nn.Parameter(torch.randn(c.vocab, c.hidden) * 0.04)  # also the output matrix
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = nn.Parameter(torch.ones(c.hidden))
        speed = c.rope_theta ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
        angle = torch.outer(torch.arange(c.positions).float(), speed)[:, None]  # (S, 1, head_dim / 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.run_layer, self.run_head = Layer.forward, head_loss

    def compile(self):
        self.run_layer = torch.compile(Layer.forward, dynamic=False)
        self.run_head = torch.compile(head_loss, dynamic=False)

    def experts(self, int4):
        """The weights that the experts compute with, a pair a layer."""
        view = FakeInt4.apply if int4 else torch.Tensor.bfloat16
        return [(view(layer.w13), view(layer.w2)) for layer in self.layers]

    def hidden(self, ids, experts):
        """ids (B, S) -> last hidden state before the norm, loads (L, E), mean balance loss."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x, loads, balances = F.embedding(ids, self.embed.bfloat16()), [], []
        for layer, (w13, w2) in zip(self.layers, experts):
            x, load, balance = self.run_layer(layer, x, cos, sin, w13, w2)
            loads.append(load)
            balances.append(balance)
        return x, torch.stack(loads), torch.stack(balances).mean()

    def logits(self, x):
        return head_logits(x, self.norm, self.embed, self.c.eps)

    def loss(self, batch, int4):
        """batch (B, S + 1) -> cross-entropy, balance loss, loads (L, E)."""
        x, loads, balance = self.hidden(batch[:, :-1], self.experts(int4))
        return self.run_head(x, self.norm, self.embed, self.c.eps, batch[:, 1:]), balance, loads


def head_logits(x, norm, embed, eps):
    return F.linear(rms_norm(x, norm, eps), embed.to(x.dtype)).float()


def head_loss(x, norm, embed, eps, targets):
    return F.cross_entropy(head_logits(x, norm, embed, eps).flatten(0, 1), targets.flatten())


# ------------------------------------------------------------------------------------------ training


def train(args):
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    model = Model(Config()).to(device)
    if args.compile:
        model.compile()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": args.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95), fused=device.type == "cuda")

    steps = int(args.tokens / args.batch_tokens)
    qat_from, long_from = int(steps * args.qat_from), int(steps * args.long_from)
    tokens, held_out = load_tokens(args.data, "train", device), load_tokens(args.data, "val", device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {steps} steps, phase 2 from {qat_from}, "
          f"length 4096 from {long_from}, {args.tokens / len(tokens):.1f} epochs", flush=True)
    short = Batches(tokens, args.short, args.batch_tokens, args.seed)
    long = Batches(tokens, args.long, args.batch_tokens, args.seed + 1)
    log = open(out / "log.jsonl", "a")

    def rate(step):
        if step < args.warmup:
            return args.lr * (step + 1) / args.warmup
        done = (step - args.warmup) / max(1, steps - args.warmup)
        return args.lr * (args.last_lr + (1 - args.last_lr) * 0.5 * (1 + math.cos(math.pi * done)))

    def held_out_loss(int4, seq):
        """On the first batches of the held-out books; with gradients on, so that no new graph is compiled."""
        batches = Batches(held_out, seq, args.batch_tokens, 0)
        count = min(args.val_batches, batches.windows // batches.rows)
        return sum(model.loss(batches[i], int4)[0].item() for i in range(count)) / count

    def save(name, branch, step):
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "branch": branch, "step": step}
        torch.save(state, out / "saving.tmp")
        (out / "saving.tmp").rename(out / f"{name}.pt")

    def load(path):
        state = torch.load(path, map_location=device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return state

    def run(branch, first, last, int4):
        clock, since = time.time(), first
        for step in range(first, last):
            seq, batch = (args.short, short[step]) if step < long_from else (args.long, long[step - long_from])
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            loss, balance, loads = model.loss(batch, int4)
            (loss + args.balance * balance).backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if (step + 1) % args.log_every == 0 or step + 1 == last:
                row = {"branch": branch, "step": step + 1, "loss": round(loss.item(), 4), "lr": round(rate(step), 6),
                       "balance": round(balance.item(), 4), "norm": round(norm.item(), 3), "seq": seq,
                       "max_load": round((loads.amax(1) / loads.mean(1)).mean().item(), 2)}
                row["tokens_per_s"] = round((step + 1 - since) * args.batch_tokens / (time.time() - clock))
                if (step + 1) % args.val_every == 0 or step + 1 == last:
                    row["val_loss"] = round(held_out_loss(int4, seq), 4)
                clock, since = time.time(), step + 1
                print(json.dumps(row), flush=True)
                log.write(json.dumps(row) + "\n")
                log.flush()
            if (step + 1) % args.save_every == 0 and step + 1 < last:
                save("latest", branch, step + 1)
        save(branch, branch, last)

    plan = [("phase1", 0, qat_from, False), ("qat", qat_from, steps, True), ("control", qat_from, steps, False)]
    resumed = load(args.resume) if args.resume else None
    for branch, first, last, int4 in plan:
        if resumed:
            if branch != resumed["branch"]:
                continue
            first, resumed = resumed["step"], None
        elif branch == "control":
            if not args.control:
                break
            load(out / "phase1.pt")
        run(branch, first, last, int4)


# ---------------------------------------------------------------------------------------- evaluation


def load_model(path, device):
    model = Model(Config()).to(device)
    model.load_state_dict(torch.load(path, map_location=device)["model"])
    return model.requires_grad_(False)


def token_losses(model, experts, batch):
    """batch (B, S + 1) -> loss of each token (B, S), loads (L, E)."""
    x, loads, _ = model.hidden(batch[:, :-1], experts)
    return F.cross_entropy(model.logits(x).transpose(1, 2), batch[:, 1:], reduction="none"), loads


def sample(model, experts, prompts, length, seed):
    """Continue prompts (B, P) by sampling at temperature 1, with the same random numbers for every model."""
    ids = prompts
    rng = torch.Generator(ids.device).manual_seed(seed)
    for _ in range(length):
        logits = model.logits(model.hidden(ids, experts)[0][:, -1])
        noise = -torch.log(-torch.log(torch.rand(logits.shape, generator=rng, device=ids.device)))
        ids = torch.cat((ids, (logits + noise).argmax(-1, keepdim=True)), 1)
    return ids


@torch.no_grad()
def evaluate(args):
    run, device = Path(args.run), torch.device(args.device)
    held_out = load_tokens(args.data, "val", device)
    windows = {seq: held_out[: (len(held_out) - 1) // seq * seq + 1].long().unfold(0, seq + 1, seq)
               for seq in (1024, 4096)}
    spans = [(0, 64), (64, 256), (256, 1024), (1024, 4096)]
    prompts = windows[4096][:: max(1, len(windows[4096]) // args.samples)][: args.samples, :64]
    judge_path = run / ("control.pt" if (run / "control.pt").exists() else "phase1.pt")
    judge, c = load_model(judge_path, device), Config()
    report = {"val_tokens": len(held_out), "judge": judge_path.stem, "variants": {}}
    variants = [("control", False), ("qat", True), ("control", True), ("phase1", False), ("phase1", True),
                ("qat", False)]
    for name, int4 in variants:  # INT4 of a model trained without it is rounding to nearest
        if not (run / f"{name}.pt").exists():
            continue
        model, row = load_model(run / f"{name}.pt", device), {}
        experts = model.experts(int4)
        for seq, ids in windows.items():
            parts = [token_losses(model, experts, b) for b in ids.split(args.batch_tokens // seq)]
            losses = torch.cat([p[0] for p in parts])
            row[f"loss_{seq}"] = losses.mean().item()
        row["loss_by_position"] = {f"{a}-{b}": losses[:, a:b].mean().item() for a, b in spans}
        loads = torch.stack([p[1] for p in parts]).sum(0)
        row["expert_share"] = [[round(v, 5) for v in r] for r in (loads / loads.sum(1, True)).tolist()]
        ids = sample(model, experts, prompts, args.length, 7)
        drift = token_losses(judge, judge.experts(False), ids)[0][:, prompts.shape[1] - 1 :]
        row["sampled_text_loss"] = {f"{a}-{b}": drift[:, a:b].mean().item()
                                    for a, b in ((0, 64), (64, 128), (128, 256), (256, 512)) if b <= args.length}
        name += "/int4" if int4 else "/bf16"
        report["variants"][name] = row
        print(name, f"{row['loss_1024']:.4f} {row['loss_4096']:.4f}",
              {k: round(v, 3) for k, v in {**row["loss_by_position"], **row["sampled_text_loss"]}.items()},
              "max/mean load", [round(c.experts * max(r), 2) for r in row["expert_share"]], flush=True)
        (run / "report.json").write_text(json.dumps(report, indent=1))


# -------------------------------------------------------------------------------------------- export


def pack(q):
    """q in [-8, 7], (out, in) -> int32 (out, in / 8); bits 4i..4i+3 of word w hold q + 8 of column 8w + i."""
    nibbles = (q + 8).to(torch.int64).unflatten(-1, (-1, 8))
    words = (nibbles << (4 * torch.arange(8, device=q.device))).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)


def hf_config(c, balance):
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": GROUP, "strategy": "group",
               "dynamic": False, "actorder": None, "block_structure": None, "observer": "minmax",
               "observer_kwargs": {}}
    return {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "torch_dtype": "bfloat16",
        "vocab_size": c.vocab, "hidden_size": c.hidden, "num_hidden_layers": c.layers,
        "num_attention_heads": c.q_heads, "num_key_value_heads": c.kv_heads, "head_dim": c.head_dim,
        "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "intermediate_size": c.inner * c.top_k, "moe_intermediate_size": c.inner, "num_experts": c.experts,
        "num_experts_per_tok": c.top_k, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "output_router_logits": False, "router_aux_loss_coef": balance, "rms_norm_eps": c.eps,
        "rope_theta": c.rope_theta, "rope_scaling": None, "max_position_embeddings": c.positions,
        "sliding_window": None, "use_sliding_window": False, "max_window_layers": c.layers,
        "tie_word_embeddings": True, "initializer_range": 0.02, "use_cache": True,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
        "quantization_config": {
            "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None,
                                          "output_activations": None}},
            "ignore": ["lm_head", "re:.*self_attn.*", "re:.*mlp.gate$"], "kv_cache_scheme": None},
    }


@torch.no_grad()
def export(args):
    from safetensors.torch import save_file

    model, out = load_model(args.state, args.device), Path(args.out)
    c = model.c
    out.mkdir(parents=True, exist_ok=True)
    tensors = {"model.embed_tokens.weight": model.embed, "model.norm.weight": model.norm}
    for n, layer in enumerate(model.layers):
        at = f"model.layers.{n}."
        q, k, v = layer.qkv.split([h * c.head_dim for h in (c.q_heads, c.kv_heads, c.kv_heads)])
        tensors |= {at + "input_layernorm.weight": layer.norm1, at + "post_attention_layernorm.weight": layer.norm2,
                    at + "self_attn.q_proj.weight": q, at + "self_attn.k_proj.weight": k,
                    at + "self_attn.v_proj.weight": v, at + "self_attn.o_proj.weight": layer.out,
                    at + "self_attn.q_norm.weight": layer.q_norm, at + "self_attn.k_norm.weight": layer.k_norm,
                    at + "mlp.gate.weight": layer.gate}
    tensors = {name: t.bfloat16() for name, t in tensors.items()}
    for n, layer in enumerate(model.layers):
        for e in range(c.experts):
            gate, up = layer.w13[e].chunk(2)
            for name, w in (("gate", gate), ("up", up), ("down", layer.w2[e])):
                q, scale = quantise(w)
                at = f"model.layers.{n}.mlp.experts.{e}.{name}_proj."
                tensors |= {at + "weight_packed": pack(q), at + "weight_scale": scale,
                            at + "weight_shape": torch.tensor(w.shape)}
    tensors = {name: t.cpu().contiguous() for name, t in tensors.items()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})

    special = {"content": END_OF_TEXT, "lstrip": False, "normalized": False, "rstrip": False,
               "single_word": False, "special": True}
    files = {
        "config.json": hf_config(c, args.balance),
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "do_sample": True,
                                   "temperature": 0.8, "top_p": 0.95},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT, "unk_token": None, "add_bos_token": False, "add_prefix_space": False,
            "clean_up_tokenization_spaces": False, "model_max_length": c.positions,
            "added_tokens_decoder": {"0": special}},
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    (out / "tokenizer.json").write_bytes((Path(args.data) / "tokenizer.json").read_bytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(function, **options):
        sub = commands.add_parser(function.__name__)
        sub.set_defaults(function=function)
        sub.add_argument("--device", default="cuda")
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                sub.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
            elif value is list:
                sub.add_argument(flag, required=True, nargs="+")
            else:
                sub.add_argument(flag, type=type(value) if value is not None else str, default=value)

    command(prepare, books=list, out=WORK / "data")
    command(train, data=WORK / "data", out=WORK / "run", tokens=1e9, batch_tokens=131072, short=1024, long=4096,
            lr=2.5e-3, last_lr=0.03, warmup=200, weight_decay=0.1, balance=0.005, qat_from=0.62, long_from=0.85, seed=1,
            log_every=50, val_every=500, val_batches=4, save_every=1000, compile=True, control=True, resume=None)
    command(evaluate, data=WORK / "data", run=WORK / "run", samples=64, length=512, batch_tokens=65536)
    command(export, data=WORK / "data", state=WORK / "run" / "qat.pt", out=WORK / "model", balance=0.005)
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
