"""Who is there, and under which name: hints for whoever dials, never a proof that anybody lives."""
