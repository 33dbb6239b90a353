"""Simulated players, reels of them with known skills, and the whole chain on these reels."""
