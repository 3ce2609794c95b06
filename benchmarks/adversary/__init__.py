"""Telemetry perturbed on purpose, through the real kernels: is the fault still found, is anything wrong done?"""
