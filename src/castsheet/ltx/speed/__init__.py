"""What makes a built denoiser faster or smaller, from outside: one optimisation a file.

`fast.make_fast` applies them in the order that they need. Figures are of benchmarks/README.md: a pass of the
22B model's video half at 768x448x121 with a full-length reference, on one H200 unless a card is named.

| file | what | exact? | gain | switch |
|---|---|---|---|---|
| joint | queries, gates, keys, values in one product | yes | with the next two: bf16 685 -> 573 ms | always |
| fused_rows, row_kernels | norm, modulation, RoPE, gates, GELU as kernels | yes | see above | with Triton |
| fast.compile_blocks | one compiled graph for all blocks | yes | see above | `compiled`; on a GPU |
| kernels | the fastest attention kernel that torch has | yes | not measured apart | always |
| tabulated | modulation computed once | yes | less memory; fp8 pass 1.5 % slower | while denoising |
| model/scaled | large layers in fp8 | no, x0 error 3.6 % | 573 -> 399 ms; 25.2 -> 13.3 GiB | `--dtype` |
| attention8 | self-attention in fp8 | no, x0 error 4.5 % | 2.4 % of an fp8 pass | `--attention fp8` |
| streaming | blocks come from host memory | yes | 13.3 -> 1.3 GiB for 3.9 % more time | `--memory` |
| memory | decoding in tiles | no, seams blended | 5.5 -> 2.2 GiB for 3x the time (H100) | `--memory` |

"Exact" means the same formula: sums are taken in another order, so bf16 results differ by rounding.
"""
