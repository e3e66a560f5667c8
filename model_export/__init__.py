"""From labelled crops to one ONNX file: train V-Net and M-Net, measure them, export them."""
