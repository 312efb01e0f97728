"""What a pod says to the Kubernetes API: a small client, and the protocol that keeps the leader's label on one pod."""
