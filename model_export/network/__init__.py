"""MVAN itself: backbones, V-Net, M-Net, losses."""
