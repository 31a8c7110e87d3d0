//! Bravo's test harness and suites by kind: model, cluster, process.
