"""What the columns of a board mean, a plain sentence each: legends, and the site's tooltips."""

from __future__ import annotations

ABOUT = {
    "rank": "Place by robust accuracy within the preset and size class; equal rows share a rank.",
    "tie": "Rows of a size class that share a number are indistinguishable from the first of them on these images "
    "(exact McNemar test, p at least 0.05, seeds paired in order and pooled). The compare command tests any two rows.",
    "id": "Identifies the row for the commands compare, reproduce and challenge.",
    "method": "With the options that differ from its defaults.",
    "weights": "Full precision (fp) or binary.",
    "last_norm": "Batch norm after the last layer.",
    "architecture": "Network, with its width factor unless that is 1.",
    "keep_ratio": "Share of the prunable weights that the method was asked to keep.",
    "allocation": "Layer budgets are proportional to (layer size)^p; global: all layers share one budget.",
    "granularity": "What a mask keeps or drops together: a weight, a kernel, an input channel, or two weights of four.",
    "trained": "Here: by this benchmark, from scratch. Elsewhere: by others; only the finished network was measured.",
    "clean": "Images classified correctly without an attack.",
    "pgd": "Images classified correctly under PGD.",
    "autoattack": "Images classified correctly under AutoAttack.",
    "robust": "Images classified correctly both clean and under every attack run, accepted challenges included. For "
    "several seeds: the mean, and the sample standard deviation.",
    "robust_interval": "Of robust accuracy: Wilson's for one seed; for several, a bootstrap over seeds and images, "
    "which is too narrow while there are few seeds.",
    "health": "Worst verdict of the gradient health checks.",
    "leaky_bpda": "Verdict on how many of at most 64 images that survived all other attacks fall to PGD whose gradient "
    "also passes inactive ReLUs; not checked: the row is older than this attack.",
    "hard_label": "Verdict on how many of the remaining images fall to RayS, an attack that sees only the predicted "
    "class.",
    "straight_way": "A hint, not a verdict: share of the margin left after nine tenths of the straight line to another "
    "class. On a plateau of the logits all of it is left, and so it is for a few honest networks.",
    "size_class": "Class of file size; rows are ranked within one.",
    "fronts": "No other row of the preset, in any size class, is at least as robust with no more bytes (size), or no "
    "more training passes (passes), and better in one of the two.",
    "reported": "AutoAttack accuracy in the publication.",
    "difference": "AutoAttack minus reported AutoAttack, in percentage points.",
    "size_bytes": "Size of the artifact file.",
    "exact_size": "Exact size of the artifact file, from which the network was read and measured.",
    "entropy_bound_bytes": "Bytes that an ideal coder would need; in the file, masks are coded by rANS and binary "
    "weights take one bit.",
    "dense_bytes": "All parameters in float32.",
    "bits_per_weight": "Bits of the file over prunable weights.",
    "statistics": "Number format of the batch-norm statistics in the file.",
    "stored_weights": "Stored, or drawn again from a seed in the file; such files have size classes of their own.",
    "density": "Weights kept over prunable weights, counted in the network.",
    "density_all": "Parameters kept or not prunable, over all parameters.",
    "dense_macs": "Multiply-adds of all convolutions for one image.",
    "sparse_macs": "Those of them with weights other than zero.",
    "bit_operations": "Sparse MACs times the bits of a weight times the 32 bits of an activation.",
    "passes": "Images sent forward and backward through the network in training.",
    "train_seconds": "Wall-clock time, with whatever else that machine was doing; a network shared with an earlier "
    "record was trained where the row's page says.",
    "latency_1": "A measured forward run of one image in the dense runtime, which gains nothing from zeros, on this "
    "device.",
    "latency_64": "The same for a batch of 64 images.",
    "torch_1": "Median time of a pass of one image in torch, batch norms folded into convolutions; all of these times "
    "were taken on one machine, the runtimes of a row in turn, and no rank depends on them.",
    "onnxruntime_1": "The same network in ONNX Runtime.",
    "sparse_1": "Median time of a pass of one image in the sparse runtime, which visits only the weights that are not "
    "zero; no rank depends on it.",
    "speedup_1": "Torch's time over that of the sparse runtime.",
    "sparse_memory": "Peak of a fresh process that computes 1 and then 64 images, libraries included; those of torch "
    "are in the sparse runtime's, too, as it reads the file and hands over the images.",
    "n_seeds": "Networks trained with this setting.",
}
AUTOMATIC = (
    "auto: the budgets that give the most masks and paths together; with a number: with another factor of the paths."
)
