"""The automatic segmenter on PyTorch, TorchScript, ONNX Runtime or OpenVINO, behind one interface."""
