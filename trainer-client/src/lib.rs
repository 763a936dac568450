//! Drives trainers: watches that survive breaks, retries with a budget, replicas by least pending.
