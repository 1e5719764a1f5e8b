"""torch's own transformer layers, for several clients side by side."""

from torch import Tensor, nn
from torch.nn import functional as F

from hedgerow.client.cohort.ops.dropout import dropout
from hedgerow.client.cohort.ops.layers import Layer, normalize, whole_registers
from hedgerow.client.cohort.ops.products import linear, matmul
from hedgerow.client.cohort.step import Step

_PARTS = (
    nn.MultiheadAttention, nn.modules.linear.NonDynamicallyQuantizableLinear,
    nn.Linear, nn.Linear, nn.LayerNorm, nn.LayerNorm,
)  # fmt: skip


def encoder(module: nn.TransformerEncoderLayer) -> Layer | None:
    """Self-attention and two linear layers, without masks; dropout as `TorchTrainer` draws it."""
    own = module.self_attn
    # Layers that replace them (a user's, or torch's parametrizations) compute something else.
    parts = (own, own.out_proj, module.linear1, module.linear2, module.norm1, module.norm2)
    if not all(type(part) is expected for part, expected in zip(parts, _PARTS, strict=True)):
        return None
    plain = own._qkv_same_embed_dim and own.in_proj_bias is not None and own.bias_k is None
    if not plain or own.add_zero_attn or not module.self_attn.batch_first:
        return None

    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        tensors = {n: step.tensors[full] for n, full in names.items()}

        def attend(x: Tensor) -> Tensor:
            return dropout(step, _attend(step, own, tensors, x), _p(module.dropout1))

        def feed(x: Tensor) -> Tensor:
            x = linear(x, tensors["linear1.weight"], tensors.get("linear1.bias"))
            x = whole_registers(module.activation, x)
            x = dropout(step, x, _p(module.dropout))
            x = linear(x, tensors["linear2.weight"], tensors.get("linear2.bias"))
            return dropout(step, x, _p(module.dropout2))

        def norm(which: str, x: Tensor) -> Tensor:
            w, b = tensors.get(f"{which}.weight"), tensors.get(f"{which}.bias")
            return normalize(x, getattr(module, which), w, b)

        if module.norm_first:
            x = x + attend(norm("norm1", x))
            return x + feed(norm("norm2", x))
        x = norm("norm1", x + attend(x))
        return norm("norm2", x + feed(x))

    return layer


def encoders(module: nn.TransformerEncoder) -> Layer | None:
    """A stack of such layers, and a final norm if there is one."""
    each = [encoder(m) if type(m) is nn.TransformerEncoderLayer else None for m in module.layers]
    last = module.norm
    if not all(each) or type(last) not in (nn.LayerNorm, type(None)):
        return None

    def layer(step: Step, names: dict[str, str], x: Tensor) -> Tensor:
        for place, one in enumerate(each):
            front = f"layers.{place}."
            own = {n.removeprefix(front): full for n, full in names.items() if n.startswith(front)}
            assert one is not None
            x = one(step, own, x)
        if isinstance(last, nn.LayerNorm):
            w, b = (step.tensors[names[n]] if n in names else None for n in ("norm.weight", "norm.bias"))
            x = normalize(x, last, w, b)
        return x

    return layer


def _p(layer: nn.Dropout) -> float:
    return layer.p if layer.training else 0.0


def _attend(step: Step, module: nn.MultiheadAttention, tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    clients, batch, time, size = x.shape
    heads = module.num_heads
    together = linear(x, tensors["self_attn.in_proj_weight"], tensors["self_attn.in_proj_bias"])
    parts = together.view(clients * batch, time, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
    q, k, v = parts.unbind()
    if module.dropout and module.training:
        weights = (matmul(q, k.transpose(-1, -2)) * (size // heads) ** -0.5).softmax(-1)
        weights = weights.view(clients, batch, heads, time, time)
        out = matmul(dropout(step, weights, module.dropout).flatten(0, 1), v)
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    out = out.transpose(1, 2).reshape(clients, batch, time, size)
    return linear(out, tensors["self_attn.out_proj.weight"], tensors["self_attn.out_proj.bias"])
