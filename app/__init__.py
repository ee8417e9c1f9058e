"""The Qt application: it shows, listens and starts work; `unet_core` computes."""
