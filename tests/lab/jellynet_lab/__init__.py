"""Builds and boots test hosts: podman containers that run systemd, on networks of their own."""
