"""Identifiers of one person: links between them, and profiles on their way from one partition to another."""
