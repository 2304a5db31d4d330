"""Teachers: external knowledge that proposes actions beside the policy."""
