"""Submissions of networks that were trained elsewhere: submit, verify and accept one."""
