/**
 * Every bound of the head's tables, histories and waits, each with its reason. What would exceed a table's bound is refused;
 * a history forgets its oldest entry.
 */

// Tables. They bound the memory that clients can make the head use; none is reached by a cluster that works.
export const NODES_MAX = 10_000;
/** Each actor's worker is one. */
export const PROCESSES_MAX = 200_000;
export const WORKERS_PER_NODE_MAX = 10_000;
export const JOBS_RUNNING_MAX = 10_000;
export const ACTORS_MAX = 100_000;
export const DEMANDS_PER_PROCESS_MAX = 10_000;
export const GROUPS_MAX = 10_000;
/** A gang on every node of the largest cluster, or on ten GPUs of each of a thousand. */
export const GROUP_BUNDLES_MAX = 10_000;
export const WATCHES_PER_PROCESS_MAX = 100_000;
export const QUERIES_PENDING_MAX = 1_000;
/** Connections that have not said who they are. More are closed at once: somebody scans the port. */
export const STRANGERS_MAX = 1_000;
/** An owner with a million tasks wants a million leases; no cluster has that many workers, and the count is asked anew. */
export const LEASES_PER_DEMAND_MAX = 10_000;
// Keys and values. They are for meeting, not for data: a gang's ranks and their addresses, some times over.
export const KEYS_PER_JOB_MAX = 100_000;
/** Of a namespace, too. */
export const KEY_MAX_CHARS = 512;
export const KEY_VALUE_MAX_BYTES = 64 * 2 ** 10;
export const KEY_VALUES_PER_JOB_MAX_BYTES = 64 * 2 ** 20;
/** A rank of the largest gang waits for one key at a time; there are several gangs. All are looked at in a tick. */
export const KEY_WAITS_MAX = 50_000;
/** Who waits longer asks again. */
export const KEY_WAIT_MAX_MS = 3_600_000;
/** Further ones would hardly ever be reached. */
export const PREFERRED_NODES_MAX = 4;
/** Tasks that ask for no resource would start a process each, on whatever machine is there. */
export const UNSIZED_LEASES_MAX = 16;
/** The processes whose objects are freed when their job ends. Those of a job that uses up more go when a node next tells whose it holds. */
export const OWNERS_PER_JOB_MAX = 10_000;
/** Classes travel as source; large arguments go through the object store. */
export const ACTOR_CREATION_MAX_BYTES = 16 * 2 ** 20;
export const RESOURCE_NAMES_MAX = 64;
export const LABELS_MAX = 64;
/** Clusters have a handful of levels. */
export const TOPOLOGY_TERMS_MAX = 16;
export const LABEL_VALUES_MAX = 10_000;
/** An administrator writes them by hand. Each decision looks at the waiting demands of each. */
export const QUEUES_MAX = 256;
/** Groups of waiting demands are told apart by it: any number would do, and nobody needs more. */
export const PRIORITY_MAX = 1_000;

/** Of requests that wait or waited lately. Each takes four bytes for each node, and eight if it asks for labels. */
export const SHAPES_KEPT_MAX = 256;

/** Groups are asked for in loops, and by gangs that are made again. Each refers to a few shapes, and to a group's bundles. */
export const GROUP_SHAPES_KEPT_MAX = 16;

// Histories, for `explain`, `list` and late watchers.
export const NODES_DEAD_KEPT_MAX = 1_000;
export const PROCESSES_DEAD_KEPT_MAX = 10_000;
export const ACTORS_DEAD_KEPT_MAX = 10_000;
export const GANGS_DEAD_KEPT_MAX = 1_000;
export const JOBS_FINISHED_KEPT_MAX = 1_000;
export const GROUPS_REMOVED_KEPT_MAX = 1_000;
export const INCARNATIONS_KEPT_MAX = 16;
/** Of classes of actors that were made lately. Actors of others share theirs with fewer. */
export const INTERFACES_KEPT_MAX = 1_000;
/** A larger error of a constructor still reaches everyone who watches when it is thrown. */
export const CREATION_ERROR_KEPT_MAX_BYTES = 64 * 2 ** 10;

// Answers and texts.
/** Of all nodes' texts in one answer about logs: a message may have four times as much. */
export const LOGS_ANSWER_MAX_BYTES = 16 * 2 ** 20;
export const LIST_ROWS_MAX = 10_000;
/** Names and entrypoints are for people. */
export const NAME_MAX_CHARS = 512;
/** Program, folder and environment of a submitted job; Linux takes little more in an exec. */
export const JOB_SPEC_MAX_CHARS = 1_000_000;

// Fairness between demands.
/** A lease this young is left alone: giving it back costs more than it has done. */
export const LEASE_QUANTUM_MS = 100;
/** How long an owner may take before it is asked for the same lease again. */
export const RECLAIM_RESEND_MS = 1_000;
/** A lease that has not come back by then runs a long task: others are asked for in its place. */
export const RECLAIM_PATIENCE_MS = 500;
/** A demand that holds nothing for this long gets a node on which freed room is kept for it. */
export const RESERVE_AFTER_MS = 1_000;
/** Long tasks may keep a node from emptying: the others get it back after this. */
export const RESERVATION_MS = 10_000;
/** Then it is open to all for this long, so that small demands go on beside large ones. */
export const RESERVATION_PAUSE_MS = 2_000;
/** How many waiting demands one round of fairness looks at, the neediest first. */
export const FAIRNESS_DEMANDS_MAX = 16;
export const FAIRNESS_INTERVAL_MS = 100;
/** Nodes that one round looks at, in turn: some milliseconds. Almost every node of a large cluster runs what could come back. */
export const FAIRNESS_NODES_MAX = 500;
/** How often a demand that waits is told why, at most. */
export const DEMAND_STATUS_INTERVAL_MS = 1_000;
/** Nodes that are looked at for it in one tick; a millisecond or two. Where there are more nodes and demands, these take turns. */
export const STATUS_NODES_MAX = 5_000;

/** Plans of groups that are refused in one round, and nodes that these look at, in some milliseconds. Where more different groups wait, they take turns. */
export const GROUP_REFUSALS_PER_ROUND_MAX = 64;
export const GROUP_NODES_PER_ROUND_MAX = 20_000;
// Reservations.
export const RESERVATION_INTERVAL_MS = 500;
/** Stands for the duration of tasks of which none is known: longer than any that users would say. */
export const UNKNOWN_DURATION_MS = 10 * 365 * 24 * 3_600_000;

// Preemption.
/** A demand that waits this long takes from lower priorities: before, they were asked, and short tasks have ended. */
export const PREEMPT_AFTER_MS = 1_000;
export const PREEMPTION_INTERVAL_MS = 500;
/** Leases that one demand may take in one round. */
export const PREEMPTIONS_PER_DEMAND_MAX = 16;
/** Workers that are killed take a moment to go; then their room is claimed no longer. */
export const PREEMPTION_SLACK_MS = 10_000;
/** What is preempted has this long to save its work, unless its queue says otherwise. */
export const GRACE_PERIOD_MS = 30_000;

// Waits.
/** A longer pause between two ticks is the head's own fault. */
export const STALL_MIN_MS = 500;
export const HELLO_TIMEOUT_MS = 10_000;
/** Starting a worker takes a second on a busy machine. A repeated request costs nothing. */
export const LEASE_RESEND_MS = 5_000;
/** A node that is cut off while it prepares bundles has this long to come back before they go elsewhere. */
export const PREPARE_PATIENCE_MS = 2_000;
/** A worker's connection ends before its daemon has collected its exit status. One that lives on is killed after this. */
export const DEATH_CAUSE_WAIT_MS = 1_000;
/** A worker connects to the head right after it connected to its daemon. */
export const ACTOR_WORKER_TIMEOUT_MS = 30_000;
export const LOG_FLUSH_TIMEOUT_MS = 2_000;
export const FAN_OUT_TIMEOUT_MS = 1_000;
/** Longer than a daemon gives its workers to end. */
export const STOP_TIMEOUT_MS = 5_000;

// Trying again.
/** Workers that do not start, and actors that die soon after their start, are tried again after this, doubled each time. */
export const BACKOFF_FIRST_MS = 100;
export const BACKOFF_MAX_MS = 10_000;
/** An actor that lived this long restarts at once. */
export const ACTOR_SETTLED_MS = 10_000;
/** Workers an actor may lose before its constructor has begun, which costs no restart. */
export const ACTOR_START_ATTEMPTS_MAX = 3;
