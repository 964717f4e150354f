"""Ratchet: sessions and rotating refresh tokens on AWS (docs/decisions.md says why so)."""
