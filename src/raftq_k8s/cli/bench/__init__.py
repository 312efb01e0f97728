"""`raftq bench`: durable puts, linearizable gets and failover, beside etcd and PySyncObj where they are installed."""
