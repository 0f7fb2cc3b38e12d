"""A bench made of bytes: the SoC, its bootloaders and application, the air, the wires and the instruments on them.

Nothing outside this package imports it, except by the registry's strings; it answers drivers in the instruments' own languages.
"""
