//! What a job and a queue are, and what each command does to them: pure, deterministic, no IO.
