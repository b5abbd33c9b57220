"""Networks as files that run without PyTorch."""

from gtpt.export.onnx import export, export_onnx
from gtpt.export.verify import Verification, verify_onnx

__all__ = ["Verification", "export", "export_onnx", "verify_onnx"]
