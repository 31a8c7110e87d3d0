//! Every bound in one place, with the relations between them asserted.

/// Bytes of a queue, project, worker or key name.
pub const NAME_BYTES_MAX: usize = 200;
/// Bytes of one inline payload or result.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes of one job's metadata, as JSON.
pub const METADATA_BYTES_MAX: usize = 16 << 10;
/// Bytes of an error text that a worker reports; longer ones are cut.
pub const ERROR_BYTES_MAX: usize = 4 << 10;
/// Bytes of the progress that a worker reports, as JSON.
pub const PROGRESS_BYTES_MAX: usize = 16 << 10;
/// Jobs of one enqueue call.
pub const ENQUEUE_JOBS_MAX: usize = 1_000;
/// Payload bytes of one enqueue call.
pub const ENQUEUE_BYTES_MAX: usize = 8 << 20;
/// Jobs of one lease call.
pub const LEASE_JOBS_MAX: u32 = 1_000;
/// Items of one ack, nack or extend call.
pub const ACK_ITEMS_MAX: usize = 1_000;
/// Highest priority; 0 is the lowest.
pub const PRIORITY_MAX: u8 = 9;
/// Priority of a job that names none.
pub const PRIORITY_DEFAULT: u8 = 4;
/// Shortest lease.
pub const LEASE_MS_MIN: u64 = 100;
/// Longest lease: one day.
pub const LEASE_MS_MAX: u64 = 86_400_000;
/// Furthest `run_at`, `delay_ms`, `ttl_ms` or `unique_for_ms`: ten years.
pub const HORIZON_MS_MAX: u64 = 10 * 366 * 86_400_000;
/// Attempts that a job may be given.
pub const ATTEMPTS_MAX: u32 = 10_000;
/// How long the answer to an idempotency key is kept.
pub const IDEMPOTENCY_KEPT_MS: u64 = 24 * 3_600_000;
/// Idempotency keys kept in one partition; beyond it new keyed writes are refused (`rate_limited`).
pub const IDEMPOTENCY_KEYS_MAX: u64 = 2_000_000;
/// Queues in one cluster.
pub const QUEUES_MAX: u64 = 10_000;
/// Fairness keys with a record of their own in one queue and partition; further keys share one.
pub const FAIRNESS_KEYS_MAX: u64 = 10_000;
/// Weights that a queue's configuration may name.
pub const FAIRNESS_WEIGHTS_MAX: usize = 1_000;
/// Labels that one job may require.
pub const REQUIREMENTS_MAX: usize = 8;
/// Labels of one worker.
pub const LABELS_MAX: usize = 32;
/// Bytes of a label's name, and of its value.
pub const LABEL_BYTES_MAX: usize = 63;
/// Slots that sticky keys fall into: what a worker is preferred for.
pub const STICKY_SLOTS: u8 = 64;
/// Longest time that a job is kept for the worker that its sticky key prefers.
pub const STICKY_WAIT_MS_MAX: u64 = 60_000;
/// Rows that one lease looks at to find the front that is the asker's.
pub const LOOKS_MAX: u32 = 1_024;
/// Rows that it may look at beside these for each job that it may give.
pub const LOOKS_PER_JOB: u32 = 16;
/// Jobs waiting in one queue unless `max_ready` says otherwise.
pub const MAX_READY_DEFAULT: u64 = 10_000_000;
/// Things that one tick, purge or redrive entry does before it yields to other work.
pub const SWEEP_MAX: u32 = 1_000;
/// Bytes of one template's document.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// Bytes of what a template says that it is for.
pub const TEMPLATE_DESCRIPTION_BYTES_MAX: usize = 4 << 10;
/// Versions that are kept of one template; the oldest makes room.
pub const TEMPLATE_VERSIONS_MAX: u32 = 100;
/// Schemas within one template's schema, counted once for each way to them.
pub const TEMPLATE_SCHEMA_PARTS_MAX: usize = 5_000;
/// Regular expressions in one template's schema.
pub const TEMPLATE_PATTERNS_MAX: usize = 64;
/// Templates in one cluster.
pub const TEMPLATES_MAX: u64 = 1_000;
/// Deleted templates whose numbers are remembered by name.
pub const TEMPLATES_DELETED_MAX: u64 = 1_000;
/// Bytes of all versions of all templates.
pub const TEMPLATES_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a search over templates.
pub const TEMPLATE_QUERY_BYTES_MAX: usize = 256;
/// Rows that one page of a list may look at.
pub const LIST_SCAN_MAX: usize = 20_000;
/// Rows that one page of a list may return.
pub const LIST_PAGE_MAX: usize = 1_000;

/// Tasks of one workflow, added ones included.
pub const WORKFLOW_TASKS_MAX: usize = 10_000;
/// Tasks, and items of tasks, of one workflow.
pub const WORKFLOW_PARTS_MAX: u32 = 50_000;
/// Events of one workflow; it fails when it would have more.
pub const WORKFLOW_EVENTS_MAX: u32 = 100_000;
/// Signals that a workflow keeps for tasks that will wait for them.
pub const WORKFLOW_SIGNALS_MAX: u32 = 1_000;
/// Workflows within workflows.
pub const WORKFLOW_DEPTH_MAX: u8 = 8;
/// Bytes of a workflow's definition, its input included.
pub const WORKFLOW_BYTES_MAX: usize = 8 << 20;
/// Tasks that one task may depend on.
pub const DEPENDS_ON_MAX: usize = 1_000;
/// Items of one `foreach`.
pub const FOREACH_ITEMS_MAX: usize = 10_000;
/// Items of one `foreach` at once, if the task does not say.
pub const FOREACH_PARALLEL_DEFAULT: u32 = 100;
/// Bytes of all items, or of all results, of one `foreach`, and of a sub-workflow's results.
pub const RESULT_LIST_BYTES_MAX: usize = 8 << 20;
/// Bytes of one expression.
pub const EXPRESSION_BYTES_MAX: usize = 64 << 10;
/// Strings with expressions in one input.
pub const EXPRESSIONS_MAX: usize = 200;
/// Work of one expression: a step, or 64 bytes of data, is 1.
pub const EXPRESSION_FUEL: u64 = 50_000;
/// Tasks that one command begins before it leaves the rest to the next tick.
pub const STARTS_MAX: u32 = 2_000;
/// What a workflow that is over leaves is packed into one row if it has at most so many rows.
pub const PACKED_ROWS_MAX: usize = 2_048;
/// Likewise with so many bytes.
pub const PACKED_BYTES_MAX: usize = 256 << 10;
/// Schedules in one partition.
pub const SCHEDULES_MAX: u64 = 10_000;
/// Runs of one schedule that wait for the ones before.
pub const SCHEDULE_QUEUED_MAX: u32 = 100;
/// Longest time that a schedule's tick may be late and still start its run: one day.
pub const CATCH_UP_MS_MAX: u64 = 86_400_000;
/// Bytes of an artifact's path.
pub const ARTIFACT_PATH_BYTES_MAX: usize = 1_024;
/// Bytes of one artifact: 5 GiB.
pub const ARTIFACT_BYTES_MAX: u64 = 5 << 30;
/// Bytes of what an artifact says of its type, and of its encoding.
pub const ARTIFACT_HEADER_BYTES_MAX: usize = 255;
/// Bytes of one chunk of an artifact; the last one may be shorter.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Bytes of a chunk in the form in which it is kept: its own, and a head.
pub const FORM_BYTES_MAX: usize = CHUNK_BYTES + 64;
/// Bytes of a chunk's form from which on it is cut into shards, where there are nodes enough: below it, six
/// small files and what the state knows of them cost more than whole copies.
pub const CODED_BYTES_MIN: usize = 256 << 10;
/// Bytes of an artifact that needs no chunks.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Versions that are kept of one artifact; the oldest makes room.
pub const ARTIFACT_VERSIONS_MAX: u32 = 100;
/// Artifacts of one project in one partition: a page of its list looks at all of them.
pub const ARTIFACTS_OF_PROJECT_MAX: u64 = 100_000;
/// Artifacts of one partition, deleted ones included while their numbers are remembered.
pub const ARTIFACTS_MAX: u64 = 1_000_000;
/// How long a deleted artifact's number is remembered: longer than caches may keep its versions.
pub const ARTIFACT_NUMBER_KEPT_MS: u64 = 25 * 3_600_000;
/// How long caches may keep a numbered version, in seconds.
pub const ARTIFACT_CACHED_S: u64 = 86_400;
/// Chunks that sweeps of one entry give up before they leave the rest to the next.
pub const CHUNKS_SWEPT_MAX: usize = 5_000;
/// Lifecycle rules of one project.
pub const LIFECYCLE_RULES_MAX: usize = 20;
/// Projects with lifecycle rules.
pub const LIFECYCLES_MAX: u64 = 1_000;
/// Artifacts that are looked at in one step when their project's rules changed.
pub const LIFE_LOOKS_MAX: usize = 200;
/// Bytes of a workflow's name, for people.
pub const TITLE_BYTES_MAX: usize = 500;

/// Webhooks of one project.
pub const WEBHOOKS_OF_PROJECT_MAX: u64 = 20;
/// Webhooks of one cluster.
pub const WEBHOOKS_MAX: u64 = 1_000;
/// Bytes of a webhook's address.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Names and patterns of events of one webhook.
pub const WEBHOOK_EVENTS_MAX: usize = 32;
/// Fewest bytes of what signs a webhook's deliveries.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;
/// Most bytes of it.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 64;
/// Deliveries of one webhook that wait or are under way in one partition; what happens beyond it is not told.
pub const DELIVERIES_MAX: u64 = 100_000;

/// Projects that have quotas.
pub const QUOTAS_MAX: u64 = 10_000;
/// API keys of one cluster.
pub const KEYS_MAX: u64 = 10_000;
/// Agent types that have a scaling policy, and those of which a forecast is kept.
pub const SCALING_TYPES_MAX: u64 = 200;
/// Agents of one type that a policy may ask for.
pub const SCALING_AGENTS_MAX: u32 = 20;
/// The smallest pool unless a policy says otherwise.
pub const SCALING_MIN_DEFAULT: u32 = 2;
/// The largest pool unless a policy says otherwise.
pub const SCALING_MAX_DEFAULT: u32 = 15;
/// The wait that 95 % of the jobs shall stay below unless a policy says otherwise.
pub const START_DELAY_P95_MS_DEFAULT: u32 = 30_000;
/// The longest such wait.
pub const START_DELAY_P95_MS_MAX: u32 = 86_400_000;
/// Bytes of what is remembered of one agent type: about 110 KiB before it is packed.
pub const SCALING_MEMORY_BYTES_MAX: usize = 512 << 10;
/// Ticks of a history that is put: four days of 15 s.
pub const SCALING_TICKS_MAX: usize = 23_040;
/// Sums of twenty ticks of a history that is put: four weeks.
pub const SCALING_ROLLUPS_MAX: usize = 8_064;
/// Milliseconds that an agent may take to start in a history that is put: an hour.
pub const SCALING_BOOT_MS_MAX: u64 = 3_600_000;
/// Longest time over which a pool is held back: what is remembered of its wishes.
pub const SCALING_BLOCK_MS_MAX: u32 = 3_600_000;
/// Largest share by which a pool may be said to grow in a period, in percent.
pub const SCALING_BLOCK_PERCENT_MAX: u32 = 10_000;
/// Milliseconds that a job may take in a history that is put.
pub const SCALING_SERVICE_MS_MAX: u64 = 1_000_000_000;

/// Uses of keys that one command tells.
pub const KEY_USES_MAX: usize = 1_000;
/// Entries of the audit log that are kept.
pub const AUDIT_ENTRIES_MAX: u64 = 200_000;
/// Bytes of each text of an entry.
pub const AUDIT_TEXT_BYTES_MAX: usize = 512;
/// Entries that one command appends.
pub const AUDIT_APPEND_MAX: usize = 1_000;

const _: () = assert!(PAYLOAD_BYTES_MAX <= ENQUEUE_BYTES_MAX);
const _: () = assert!(LEASE_MS_MIN < LEASE_MS_MAX);
const _: () = assert!(PRIORITY_DEFAULT <= PRIORITY_MAX);
const _: () = assert!(TEMPLATE_DESCRIPTION_BYTES_MAX <= TEMPLATE_BYTES_MAX);
const _: () = assert!(TEMPLATE_BYTES_MAX as u64 <= TEMPLATES_BYTES_MAX);
const _: () = assert!(INLINE_BYTES_MAX <= CHUNK_BYTES);
const _: () = assert!(INLINE_BYTES_MAX < CODED_BYTES_MIN && CODED_BYTES_MIN < FORM_BYTES_MAX);
const _: () = assert!(ARTIFACT_CACHED_S * 1_000 < ARTIFACT_NUMBER_KEPT_MS);
const _: () = assert!(LIST_PAGE_MAX <= LIST_SCAN_MAX);
