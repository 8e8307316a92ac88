"""The nightly decision (METHOD d): series of a night, the rule, its replay over a history, and the outcome in words."""
