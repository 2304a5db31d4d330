"""Action sources: whatever proposes completions for a sample, beside the trained policy."""
