"""Licences as data: names, texts, duties, and which of them go together.

An engineering reading of public texts, not legal advice; the text of a licence decides.
"""
