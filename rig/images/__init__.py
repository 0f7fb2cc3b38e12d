"""Firmware packages: read, build and sign them."""
