"""Networks of other people from files: ONNX, TorchScript, `torch.export` programs and state dicts."""
