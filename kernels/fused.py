"""What stands between the matrix products of a decode step, in few kernels; for inference only.

A layer of the Llama family takes four launches of these beside its products and its attention: `add_rms_norm`
before each half, `rotate_and_append` before attention, `swiglu` before the MLP's last product. Each reads and
writes its tensors once, so a call is bounded by their bytes or, with the few rows of a decode step, by its
launch. All arithmetic is in fp32, rounded once, on the way out. A row's bits do not depend on the other rows.
Nothing waits for the device: all can be captured in CUDA graphs.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from shuhari.kernels import dispatch
from shuhari.kernels.dispatch import Implementation
from shuhari.kernels.reads import Reads


def add_rms_norm_plain(
    x_NC: Tensor, delta_NC: Tensor | None, weight_C: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """The definition of `add_rms_norm`."""
    if delta_NC is not None:
        x_NC += delta_NC
    return _rms_norm(x_NC, weight_C, eps).to(dtype)


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """By norms: sqrt(mean(x²) + eps) is hypot(|x|, sqrt(C·eps)) / sqrt(C), and |x| takes one pass."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    root_eps, scale = _constants((x.shape[-1] * eps) ** 0.5, x.shape[-1] ** -0.5, like=(x.dtype, x.device))
    return (x / torch.hypot(norm, root_eps).mul_(scale)).mul_(weight)


@cache
def _constants(*values: float, like: tuple[torch.dtype, torch.device]) -> list[Tensor]:
    """Numbers as tensors, once: torch makes and converts one each time it meets a plain number."""
    with torch.inference_mode(False):  # they outlive whoever asked first
        return [torch.tensor(x, dtype=like[0], device=like[1]) for x in values]


def rotate_and_append_plain(
    qkv_BED: Tensor,
    cos_TD: Tensor,
    sin_TD: Tensor,
    k_PHD: Tensor,
    v_PHD: Tensor,
    reads: Reads,
    q_norm_D: Tensor | None,
    k_norm_D: Tensor | None,
    eps: float,
) -> Tensor:
    """The definition of `rotate_and_append`. Raises IndexError where a row's place is beyond the tables."""
    used_B = reads.completion_length_B > 0
    place_B = torch.where(used_B, reads.prompt_length_B + reads.completion_length_B - 1, 0)
    turn = turning(cos_TD[place_B], sin_TD[place_B])
    q_BHD, k_BHD, v_BHD = rotate(qkv_BED, k_PHD.shape[1], turn, q_norm_D, k_norm_D, eps)
    used_U = used_B.nonzero()[:, 0]
    newest_U = (reads.completion_start_B + reads.completion_length_B - 1)[used_U].long()
    k_PHD[newest_U], v_PHD[newest_U] = k_BHD[used_U].to(k_PHD.dtype), v_BHD[used_U].to(v_PHD.dtype)
    return torch.where(used_B[:, None, None], q_BHD, 0).to(k_PHD.dtype)


def turning(cos_BD: Tensor, sin_BD: Tensor) -> tuple[Tensor, Tensor]:
    """What `rotate` multiplies with, once for all layers: cosines, and sines with the sign of their half."""
    first_BD, second_BD = sin_BD.chunk(2, -1)
    return cos_BD[:, None], torch.cat([-first_BD, second_BD], -1)[:, None]


def rotate(
    qkv_BED: Tensor,
    kv_heads: int,
    turn: tuple[Tensor, Tensor],
    q_norm_D: Tensor | None,
    k_norm_D: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries [B, H, D] and keys [B, Hkv, D], and values [B, Hkv, D], in fp32, by torch alone.

    Arguments as of `rotate_and_append`; turn: what `turning` made of each row's place
    """
    heads = qkv_BED.shape[1] - kv_heads
    turned_BED, v_BHD = torch.split(qkv_BED.float(), [heads, kv_heads], 1)
    if q_norm_D is not None and k_norm_D is not None:
        q_BHD, k_BHD = torch.split(turned_BED, [heads - kv_heads, kv_heads], 1)
        turned_BED = torch.cat([_rms_norm(q_BHD, q_norm_D, eps), _rms_norm(k_BHD, k_norm_D, eps)], 1)
    cos_B1D, sin_B1D = turn
    halves_BED = turned_BED.roll(turned_BED.shape[2] // 2, -1)
    turned_BED = halves_BED.mul_(sin_B1D).addcmul_(turned_BED, cos_B1D)
    q_BHD, k_BHD = torch.split(turned_BED, [heads - kv_heads, kv_heads], 1)
    return q_BHD, k_BHD, v_BHD


def swiglu_plain(gate_up_N2I: Tensor) -> Tensor:
    """The definition of `swiglu`."""
    gate_NI, up_NI = gate_up_N2I.float().chunk(2, -1)
    return F.silu(gate_NI).mul_(up_NI).to(gate_up_N2I.dtype)


def add_rms_norm(
    x_NC: Tensor,
    delta_NC: Tensor | None,
    weight_C: Tensor,
    eps: float,
    dtype: torch.dtype,
    implementation: Implementation | None = None,
) -> Tensor:
    """x += delta, in place; then x / sqrt(mean(x²) + eps) · weight, [N, C] in `dtype`.

    An RMS norm (Zhang and Sennrich 2019) and the addition to the residual stream before it.

    x: the residual stream, fp32, contiguous; delta: fp32, fp16 or bf16, contiguous, or None; weight: fp32
    Bytes, d and e an element of delta and of the result: (8 + d + e)·N·C, without delta (4 + e)·N·C.
    FLOPs: 5·N·C.

    Raises ValueError where shapes, dtypes or strides are others, gradients are wanted, or "triton" is asked
    for and cannot run: it takes C up to 8192, and no delta in fp16 with a result in bf16 or vice versa.
    """
    given = [x_NC, weight_C] if delta_NC is None else [x_NC, weight_C, delta_NC]
    _check(given, [x_NC, weight_C])
    if weight_C.shape != x_NC.shape[1:] or given[-1].shape not in (x_NC.shape, weight_C.shape):
        raise ValueError(f"x, weight and delta do not fit: {[tuple(x.shape) for x in given]}")
    if dispatch.choose(implementation, x_NC.device) == "plain":
        return add_rms_norm_plain(x_NC, delta_NC, weight_C, eps, dtype)
    from shuhari.kernels.gpu import fused as gpu

    return gpu.add_rms_norm(x_NC, delta_NC, weight_C, eps, dtype)


def rotate_and_append(
    qkv_BED: Tensor,
    cos_TD: Tensor,
    sin_TD: Tensor,
    k_PHD: Tensor,
    v_PHD: Tensor,
    reads: Reads,
    q_norm_D: Tensor | None = None,
    k_norm_D: Tensor | None = None,
    eps: float = 1e-6,
    implementation: Implementation | None = None,
) -> Tensor:
    """The rotated queries [B, H, D], contiguous, in the pool's dtype; rotated keys and values go to the pool.

    qkv: each row's H heads of queries, then those of its keys, then those of its values: E = H + 2·Hkv
    cos, sin: fp32 tables by place in the text, contiguous; x becomes x·cos + [-x₂, x₁]·sin with x₁, x₂ its
        halves: rotary embedding (Su et al. 2021) as Hugging Face lays it out
    q_norm, k_norm: both or neither; fp32 weights of an RMS norm of each head before it is turned (Qwen3)

    A row's token is its newest. Its place in the text is prompt_length + completion_length - 1, which is to
    be below T ("plain" raises IndexError, "triton" gives NaN); its place in the pool is completion_start +
    completion_length - 1. Of a row not in use (completion_length 0) queries are 0, and nothing is written.

    Bytes, e an element: 2·e·B·E·D, and 8·B·D of the tables. FLOPs: 3·B·(H + Hkv)·D, with norms 7.

    Raises ValueError where `reads` was planned for other shapes, tables or norms are not fp32 and contiguous,
    gradients are wanted, or "triton" is asked for and cannot run: there qkv has the pool's dtype.
    """
    B, E, D = qkv_BED.shape
    H = E - 2 * k_PHD.shape[1]
    if (q_norm_D is None) != (k_norm_D is None):
        raise ValueError("q_norm_D and k_norm_D come together")
    norms = [x for x in (q_norm_D, k_norm_D) if x is not None]
    _check([qkv_BED, k_PHD, v_PHD], [cos_TD, sin_TD, *norms])
    made_for = (H // k_PHD.shape[1], D, k_PHD.dtype)
    if len(reads.rows_B) != B or reads.made_for != made_for or H % k_PHD.shape[1] or H <= 0:
        raise ValueError(
            f"reads are planned for {len(reads.rows_B)} rows and (heads a key head, D, dtype) "
            f"{reads.made_for}, not for {B} rows and {made_for} of {H} heads"
        )
    shapes = [tuple(x.shape) for x in (cos_TD, sin_TD, *norms)]
    if D % 2 or shapes[0] != shapes[1] or any(x[-1] != D for x in shapes) or k_PHD.shape != v_PHD.shape:
        raise ValueError(f"D = {D} is odd, or tables and norms of {shapes} or k and v do not fit it")
    given = (qkv_BED, cos_TD, sin_TD, k_PHD, v_PHD, reads, q_norm_D, k_norm_D, eps)
    if dispatch.choose(implementation, qkv_BED.device) == "plain":
        return rotate_and_append_plain(*given)
    from shuhari.kernels.gpu import rotate as gpu

    return gpu.rotate_and_append(*given)


def swiglu(gate_up_N2I: Tensor, implementation: Implementation | None = None) -> Tensor:
    """silu(gate) · up, [N, I], of gate and up beside each other (Shazeer 2020), contiguous.

    Bytes, e an element: 3·e·N·I. FLOPs: 5·N·I.

    Raises ValueError where the width is odd, it is not contiguous, gradients are wanted, or "triton" is asked
    for and cannot run (it takes fp32, fp16 and bf16).
    """
    _check([gate_up_N2I], [])
    if gate_up_N2I.shape[1] % 2 or not gate_up_N2I.is_contiguous():
        raise ValueError(f"gate and up are to be [N, 2·I] and contiguous, not {tuple(gate_up_N2I.shape)}")
    if dispatch.choose(implementation, gate_up_N2I.device) == "plain":
        return swiglu_plain(gate_up_N2I)
    from shuhari.kernels.gpu import fused as gpu

    return gpu.swiglu(gate_up_N2I)


def _check(inputs: list[Tensor], fp32: list[Tensor]) -> None:
    """That no gradient is wanted through either list, and that the second is fp32 and contiguous."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs + fp32):
        raise ValueError("these kernels have no gradients: call them under torch.no_grad()")
    for x in fp32:
        if x.dtype != torch.float32 or not x.is_contiguous():
            raise ValueError(f"must be contiguous fp32: {x.dtype} of {tuple(x.shape)}, strides {x.stride()}")
