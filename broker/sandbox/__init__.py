"""Clouds in a box: the product's own code against a cloud that runs on this computer.

`aws@sandbox` is an independent emulator of EC2 (moto) behind a gate that adds what it lacks, and
whose instances are real processes. It proves how the broker behaves; it proves nothing about
AWS's timing, quotas or preemption, which are our reading of the documentation.
"""
