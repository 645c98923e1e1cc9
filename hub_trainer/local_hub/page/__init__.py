"""The pages that people look at: server-rendered, without a script, read-only for strangers."""
