"""Networks as files that run without PyTorch."""

from gtpt.export.onnx import Verification, export, export_onnx, verify_onnx

__all__ = ["Verification", "export", "export_onnx", "verify_onnx"]
