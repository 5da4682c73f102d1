"""What makes a built denoiser faster or smaller, from outside: one optimisation a file.

`fast.make_fast` applies them in the order that they need. Figures: a pass of the 22B model's video half at
768x448x121 with a full-length reference. `from` names the section of benchmarks/README.md, commit and card.

| file | what | exact? | gain | from | switch |
|---|---|---|---|---|---|
| joint | queries, gates, keys, values as one | yes | with the next 2: bf16 685 -> 573 ms | A | always |
| fused_rows, row_kernels | norm, modulation, RoPE, gates, GELU kernels | yes | see above | A | with Triton |
| fast.compile_blocks | one compiled graph for all blocks | yes | see above | A | `compiled`; on a GPU |
| kernels | the fastest attention kernel that torch has | yes | not measured apart | | always |
| tabulated | modulation computed once | yes | less memory; fp8 pass 1.5 % slower | B | while denoising |
| model/scaled | large layers in fp8 | no, x0 error 3.6 % | 573 -> 399 ms; 25.2 -> 13.3 GiB | A | `--dtype` |
| attention8 | self-attention in fp8 | no, x0 error 4.5 % | 2.4 % of an fp8 pass | C | `--attention fp8` |
| streaming | blocks come from host memory | yes | 13.3 -> 1.3 GiB for 3.9 % more time | D | `--memory` |
| memory | decoding in tiles | no, seams blended | 5.5 -> 2.2 GiB for 3x the time | E | `--memory` |

A: `video`, 8996219, H200. B: `strength`, 8996219, H200. C: `attention-fp8`, 75c6686, H100. D: `streamed`,
27b7b13, H200. E: `vae`, cfcdc1a, H100.

"Exact" means the same formula: sums are taken in another order, so bf16 results differ by rounding.
"""
