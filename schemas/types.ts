// Generated from the JSON Schemas beside this file by `npm run gen`. Do not edit.

/**
 * syncline.lock.json: each source's ordered columns and native types as last read
 */
export interface Lock {
  lockVersion: 1;
  /**
   * Digests of the package's templates that those of the project stand for, by the project's path
   */
  templates?: {
    [k: string]: string;
  };
  targets: {
    [k: string]: {
      sources: {
        [k: string]: {
          /**
           * What the relation is, as the warehouse says: BASE TABLE, VIEW, …
           */
          type?: string;
          /**
           * How it is partitioned: its PARTITION BY, as the warehouse writes it
           */
          partitioning?: string;
          columns: {
            name: string;
            type: string;
            /**
             * The table is partitioned by it
             */
            partition?: true;
          }[];
        };
      };
    };
  };
}

/**
 * The record of one `syncline apply`: target/syncline/<target>/manifest.json.
 */
export interface RunManifest {
  manifestVersion: 1;
  project: string;
  target: string;
  /**
   * Hash of the plan that was applied, as in plan.json.
   */
  planHash: string;
  startedAt: string;
  /**
   * Null while it runs, and for ever when the process died.
   */
  finishedAt: string | null;
  /**
   * --allow, as given
   */
  allowed: string[];
  syncs: {
    [k: string]: SyncRecord;
  };
  /**
   * Failures of earlier applies, until their sync is done, unchanged or fails again.
   */
  earlier?: {
    [k: string]: Failure;
  };
}
export interface SyncRecord {
  /**
   * pending: not begun; running: begun and not ended, also when the process died; done: something was sent; refused: its preview was of another state, so no run began.
   */
  status: 'pending' | 'running' | 'done' | 'unchanged' | 'failed' | 'refused';
  /**
   * An interrupted run that was finished comes first.
   */
  runs: RunRecord[];
  /**
   * Statements that were begun, in order.
   */
  steps: string[];
  /**
   * Records of the latest run's finished batches, refused ones included.
   */
  sent?: number;
  /**
   * When it was done, unchanged or failed.
   */
  endedAt?: string;
  error?: {
    code: string;
    message: string;
  };
}
export interface RunRecord {
  run: number;
  resumed: boolean;
  counts?: RunCounts;
}
/**
 * Records of one committed run, by what happened to their rows. What was captured and not attempted is invalid, or adopted; what was attempted and not accepted was refused, or may be shown. accepted + refused + invalid = captured.
 */
export interface RunCounts {
  captured_inserts: number;
  captured_updates: number;
  captured_deletes: number;
  attempted_inserts: number;
  attempted_updates: number;
  attempted_deletes: number;
  accepted_inserts: number;
  accepted_updates: number;
  accepted_deletes: number;
  refused: number;
  invalid: number;
  billable: number;
}
export interface Failure {
  at: string;
  code: string;
  message: string;
}

export type Expect =
  | {
      affected: 1;
      otherwise: 'lease-lost' | 'lease-held';
    }
  | {
      rows: 0;
      otherwise: 'check-failed' | 'guard' | 'columns-drifted' | 'accounts-differ' | 'state-foreign';
      message: string;
      guard?: string;
    };

/**
 * The compiled, versioned plan that the runtime executes. It holds no connection and no secret.
 */
export interface Plan {
  planVersion: 1;
  project: string;
  target: string;
  warehouse: 'bigquery' | 'snowflake' | 'databricks' | 'redshift' | 'postgres' | 'duckdb';
  staging: string;
  /**
   * sha256 of the plan without this field
   */
  hash: string;
  transaction: null | {
    begin: string;
    commit: string;
    rollback: string;
  };
  /**
   * The warehouse is a file that `apply` sets up by itself; elsewhere a person does
   */
  embedded: boolean;
  /**
   * Statements sent once on each new connection
   */
  session: string[];
  setup: SqlStep[];
  /**
   * The last statement of setup: the right to run statements, which is of the project, so that another person may have to give it; empty where there is no such right, or the project is not known
   */
  jobs: string;
  /**
   * What the role may not do and should, or may and should not; empty where a warehouse gives no rights
   */
  privileges: string;
  /**
   * Ends what another session runs; empty where a driver does that
   */
  cancel: string;
  /**
   * Statement that lists the latest runs of each sync
   */
  runs: string;
  statements: {
    [k: string]: Statement;
  };
  syncs: SyncPlan[];
  direct: DirectPlan[];
  /**
   * Statement that lists every sync with a state in the staging schema
   */
  states: string;
}
export interface SqlStep {
  kind: 'sql';
  run: string[];
  atomic: boolean;
  /**
   * A statement: the step is left out when it gives a row
   */
  unless?: string;
}
/**
 * SQL as text and holes; a hole is inlined after its strict validator, a bind is given to the driver
 */
export interface Statement {
  sql: (string | Late)[];
  binds: Late[];
  /**
   * Exactly one row, by name
   */
  returns?: Late[];
  expect?: Expect;
  /**
   * What it means, in a sentence, when the warehouse cannot run the statement
   */
  failure?: string;
  repeatable: boolean;
}
/**
 * A value that exists only at run time
 */
export interface Late {
  name: string;
  type: 'integer' | 'text' | 'word' | 'ranges' | 'expression';
  /**
   * Of ranges: what stands before, between and after the two integers of one, and between two of them
   */
  item?: string[];
}
export interface SyncPlan {
  name: string;
  kind: 'events' | 'user_profiles' | 'group_profiles' | 'lookup_table';
  mode: 'mirror' | 'append' | 'full' | 'one_time';
  strategy: 'snapshot' | 'checksum' | 'stream' | 'change_feed' | 'watermark' | 'all';
  /**
   * Why this strategy was chosen
   */
  why: string;
  source: string;
  tags: string[];
  /**
   * When apply --due runs it; null: always
   */
  frequency: ('hourly' | 'daily' | 'weekly' | 'api') | null;
  /**
   * What people declared of its run besides the mapping, in the words of the declaration: for a review without a connection
   */
  declared: {
    [k: string]: string;
  };
  /**
   * Statements that templates of the project took part in
   */
  overridden: string[];
  mapping: {
    /**
     * Empty for what holds for every row: key and event name.
     */
    column: string;
    checksum: string;
    payload: string;
    /**
     * What people declared of the column: how it is used, whatever the SQL for it is
     */
    means: string;
  }[];
  columns: {
    name: string;
    native: string;
  }[];
  /**
   * Columns of the lock that are not read
   */
  excluded: string[];
  lateWindowMs: number | null;
  /**
   * Lists the columns that the source has now: name, native
   */
  discover: string;
  state: {
    exists: string;
    owner: string;
    read: string;
    lease: string;
    renew: string;
    release: string;
    unlock: string;
    forget: string;
    /**
     * Takes the position of a run that captured nothing
     */
    settle: string;
    /**
     * Lists the outboxes that are there, also those that no state names; empty where none can be made after its lease was lost
     */
    outboxes: string;
  };
  setup: SqlStep[];
  probe: SqlStep[];
  capture: {
    fill: SqlStep[];
    totals: string;
    checks: SqlStep[];
    flip: string;
    /**
     * Fills the outbox under a mapping that is decided to be forwarded
     */
    forward: null | SqlStep[];
  };
  deliver: DeliverStep;
  commit: SqlStep[];
  cleanup: SqlStep[];
  record: {
    write: string;
    read: string;
  };
  /**
   * Never executed: that the warehouse would run it shows a right that no run needs; empty where rights are read from a catalog
   */
  excess: string;
  preview: {
    /**
     * Whether rows older than the window may be tried again, which is asked before they are read; empty where reading them costs nothing until then
     */
    older: string;
    /**
     * What the planner expects to read; empty where a warehouse does not tell
     */
    explain: string;
    initial: string;
    changes: string;
    forward: null | string;
    /**
     * What an interrupted run has still to send
     */
    pending: string;
    /**
     * Rows that Mixpanel shows, where a ledger knows them
     */
    shown: null | string;
  };
  show: string;
  rejects: string;
  reset: SqlStep[];
  /**
   * Mirrors: how rows are named and compared, as a later plan may need to compute it again
   */
  expressions: null | {
    checksum: string;
    key: string;
    /**
     * With snapshots: what a row was sent as, as the columns of a select
     */
    identity?: string;
    /**
     * With snapshots: the condition that rows came under
     */
    where?: string;
  };
  /**
   * Strategy snapshot: a run compares a snapshot of the table with that of the last run
   */
  snapshot: null | {
    /**
     * How long the warehouse keeps a snapshot
     */
    days: number;
    /**
     * Whether the snapshot is there, and whether a reject is to be tried again
     */
    probe: string;
    /**
     * When the table was written last
     */
    modified: string;
    /**
     * Which partitions a run leaves unread; null where it reads the table whole
     */
    partitions: null | {
      /**
       * The ranges of the whole table
       */
      everything: string;
      /**
       * Says the ranges that are read: those that are not proven to be as in the last snapshot
       */
      changed: SqlStep[];
    };
    drop: string;
    /**
     * In place of a capture where the table did not change: its snapshot is kept for longer
     */
    quiet: SqlStep[];
    /**
     * Where no snapshot of a last run is: what Mixpanel shows is what the ledger says
     */
    anew: {
      fill: SqlStep[];
      forward: null | SqlStep[];
      destroy: SqlStep[];
      preview: SnapshotPreview;
      renamed: null | SnapshotPreview;
    };
  };
  /**
   * What people decided, by the hash of exactly one change of the mapping
   */
  decisions: {
    [k: string]: 'resend' | 'forward';
  };
  /**
   * What the guards of the checks allow, for previews
   */
  guards: {
    maxDeletes: null | {
      /**
       * At least this many are allowed
       */
      rows: number;
      /**
       * Or this share of what Mixpanel shows
       */
      percent: number;
    };
    maxChanges: null | number;
    onEmptySource: boolean;
  };
  /**
   * The first run takes what is in the table for what Mixpanel shows, and sends nothing
   */
  adopts: boolean;
  destroy: {
    /**
     * Why what Mixpanel shows cannot be removed
     */
    keeps: null | string;
    /**
     * Fills the outbox with what removes everything that the ledger knows
     */
    data: null | SqlStep[];
    drop: SqlStep[];
  };
  rename: null | {
    from: string;
    exists: string;
    read: string;
    /**
     * Once for each name in the state
     */
    outbox: string[];
    steps: string[];
    preview: {
      changes: string;
      forward: null | string;
      pending: string;
      shown: null | string;
    };
  };
}
export interface DeliverStep {
  kind: 'deliver';
  endpoint: 'import' | 'engage' | 'groups' | 'lookup-tables';
  /**
   * A second endpoint: batches of even number go there, those of odd number to the first
   */
  also: null | 'import';
  /**
   * The lookup table that is replaced, and the first line of its CSV
   */
  table: null | {
    id: string;
    header: string;
  };
  /**
   * rows: batch, records, body (newline-joined)
   */
  pages: string;
  /**
   * Forgets outcomes after the checkpoint, once, when a run is resumed
   */
  restart: string;
  outcome: string;
  checkpoint: string;
  abandon: string;
  /**
   * Runs before restart, abandon and outcome in one transaction with them, where their fence locks nothing: until it ends nobody takes the lease
   */
  hold: null | string;
}
export interface SnapshotPreview {
  changes: string;
  forward: null | string;
}
/**
 * A sync without write access: its query is delivered as it is read, its state is a file
 */
export interface DirectPlan {
  name: string;
  /**
   * What the preview finds under that name stops a run before it sends anything
   */
  checks: {
    name: string;
    message: string;
  }[];
  kind: 'events' | 'user_profiles' | 'group_profiles' | 'lookup_table';
  mode: 'mirror' | 'append' | 'full' | 'one_time';
  strategy: 'snapshot' | 'checksum' | 'stream' | 'change_feed' | 'watermark' | 'all';
  /**
   * Why this strategy was chosen
   */
  why: string;
  source: string;
  tags: string[];
  /**
   * When apply --due runs it; null: always
   */
  frequency: ('hourly' | 'daily' | 'weekly' | 'api') | null;
  /**
   * What people declared of its run besides the mapping, in the words of the declaration: for a review without a connection
   */
  declared: {
    [k: string]: string;
  };
  /**
   * Statements that templates of the project took part in
   */
  overridden: string[];
  mapping: {
    /**
     * Empty for what holds for every row: key and event name.
     */
    column: string;
    checksum: string;
    payload: string;
    /**
     * What people declared of the column: how it is used, whatever the SQL for it is
     */
    means: string;
  }[];
  columns: {
    name: string;
    native: string;
  }[];
  /**
   * Columns of the lock that are not read
   */
  excluded: string[];
  /**
   * Lists the columns that the source has now: name, native
   */
  discover: string;
  probe: SqlStep[];
  /**
   * Guards: a run that would send more is stopped before it sends
   */
  maxChanges: number | null;
  maxRejects: number | null;
  deliver: {
    endpoint: 'import' | 'engage' | 'groups' | 'lookup-tables';
    /**
     * A second endpoint, for rows whose `also` is 1
     */
    also: null | 'import';
    /**
     * The lookup table that is replaced, and the first line of its CSV
     */
    table: null | {
      id: string;
      header: string;
    };
    /**
     * rows: also, row_key, change, reason, payload
     */
    read: string;
    /**
     * Of one request: records, and bytes before its last record
     */
    limits: {
      records: number;
      bytes: number;
    };
  };
  preview: string;
  show: string;
}

/**
 * What `syncline plan --out` writes and `syncline apply PREVIEW` takes.
 */
export interface PreviewFile {
  previewVersion: 1;
  project: string;
  target: string;
  /**
   * Hash of the plan, the columns of the lock included
   */
  planHash: string;
  syncs: Preview[];
  /**
   * Syncs that apply would refuse whatever their rows say: nothing of them could be counted
   */
  refused: {
    sync: string;
    code: string;
    message: string;
  }[];
  /**
   * What the staging schema has of syncs that the project does not declare
   */
  orphans: {
    name: string;
    /**
     * False where only other tables of it are left
     */
    hasState: boolean;
  }[];
}
export interface Preview {
  sync: string;
  kind: 'events' | 'user_profiles' | 'group_profiles' | 'lookup_table';
  mode: 'mirror' | 'append' | 'full' | 'one_time';
  strategy: 'snapshot' | 'checksum' | 'stream' | 'change_feed' | 'watermark' | 'all';
  /**
   * Why this strategy was chosen
   */
  why: string;
  /**
   * sending: the counts are what an interrupted run has still to send
   */
  route: 'initial' | 'changes' | 'sending';
  /**
   * The name that the state still has: apply renames it, and nothing is resent for that
   */
  renamedFrom: string | null;
  /**
   * Insert times that an append sends again, instead of what came since its last run
   */
  backfill: {
    from: string;
    to: string;
  } | null;
  /**
   * True where an earlier run holds the lease and has sent nothing: it died, or goes on
   */
  unreleased: boolean;
  /**
   * Names what the counts were made against: a run that ended or began to send since, or a reset, made another state
   */
  state: string;
  /**
   * What was decided for a changed mapping
   */
  decision: ('resend' | 'forward') | null;
  inserts: number;
  updates: number;
  deletes: number;
  /**
   * Rows by reason that are not sent
   */
  invalid: {
    [k: string]: number;
  };
  /**
   * Event records that Mixpanel will count
   */
  billable: number;
  /**
   * Rows that `initial: skip` takes for what Mixpanel shows: nothing is sent for them
   */
  adopted: number;
  /**
   * Rows with an integer or decimal beyond 2^53: Mixpanel keeps the nearest double
   */
  inexact: number;
  /**
   * Rows whose `json_properties` have keys that Mixpanel or syncline reserves: those are not sent
   */
  leftOut: number;
  /**
   * What is sent: one or two records a change
   */
  records: number;
  /**
   * Payloads before compression
   */
  bytes: number;
  /**
   * What the warehouse's planner expects a run to read of the source; null where it does not tell
   */
  reads: {
    rows: number | null;
    bytes: number;
    /**
     * Bytes of all partitions, where some are left unread
     */
    whole: number | null;
  } | null;
  guards: GuardPreview[];
  /**
   * What apply will say instead of sending anything, besides the guards that are measured
   */
  refusals: Refusal[];
  /**
   * Columns of the source that the lock does not have: not sent
   */
  newColumns: string[];
  /**
   * A changed mapping that waits for a decision: apply refuses the sync until then
   */
  undecided: Undecided | null;
  /**
   * With snapshots: when the one that is compared with is dropped, once that is near
   */
  expires: string | null;
  /**
   * Hashes of decisions for no change that is there now
   */
  staleDecisions: string[];
}
export interface GuardPreview {
  name: 'max_deletes' | 'max_changes' | 'on_empty_source';
  /**
   * Rows
   */
  value: number;
  /**
   * Rows
   */
  limit: number;
  /**
   * True when apply would send nothing
   */
  stops: boolean;
}
export interface Refusal {
  code: 'guard' | 'check-failed';
  message: string;
}
export interface Undecided {
  hash: string;
  what: string;
  choices: {
    decision: 'resend' | 'forward';
    inserts: number;
    updates: number;
    deletes: number;
    billable: number;
  }[];
}

export type Tags = string[];
export type WarehouseSettings = {
  type: string;
} & WarehouseSettings1;
export type WarehouseSettings1 = BigQuerySettings | DuckDBSettings | PostgresSettings | RedshiftSettings;

/**
 * syncline.yml
 */
export interface Project {
  name: string;
  require_syncline?: string;
  default_target?: string;
  defaults?: Defaults;
  vars?: {
    [k: string]: string | number | boolean;
  };
  targets: {
    [k: string]: Target;
  };
}
/**
 * What every sync has unless it says otherwise
 */
export interface Defaults {
  /**
   * false: checked, but neither compiled nor run; its state stays
   */
  enabled?: boolean;
  /**
   * Zone of naive timestamps, as in the IANA database; UTC if left out
   */
  timezone?: string;
  /**
   * How far back rows may arrive late, like 6h
   */
  late_window?: string;
  properties?: {
    exclude?: string[];
    rename?: {
      [k: string]: string;
    };
    types?: {
      [k: string]: 'string' | 'json';
    };
    case?: 'lower' | 'upper';
  };
  on_new_column?: 'ignore' | 'fail';
  on_delete?: 'tombstone' | 'unset' | 'delete' | 'ignore' | 'fail';
  guard?: Guard;
  tags?: Tags;
  owner?: Owner;
  frequency?: 'hourly' | 'daily' | 'weekly' | 'api';
  kind?: {
    events?: DefaultsOfKind;
    user_profiles?: DefaultsOfKind;
    group_profiles?: DefaultsOfKind;
    lookup_table?: DefaultsOfKind;
  };
  /**
   * By folder or glob from the project's folder, as in --select path:
   */
  path?: {
    [k: string]: DefaultsOfPath;
  };
}
export interface Guard {
  max_deletes?: number | string;
  max_changes?: number;
  on_empty_source?: 'fail' | 'allow';
  max_rejects?: number;
}
export interface Owner {
  name?: string;
  email?: string;
}
export interface DefaultsOfKind {
  /**
   * false: checked, but neither compiled nor run; its state stays
   */
  enabled?: boolean;
  /**
   * Zone of naive timestamps, as in the IANA database; UTC if left out
   */
  timezone?: string;
  /**
   * How far back rows may arrive late, like 6h
   */
  late_window?: string;
  properties?: {
    exclude?: string[];
    rename?: {
      [k: string]: string;
    };
    types?: {
      [k: string]: 'string' | 'json';
    };
    case?: 'lower' | 'upper';
  };
  on_new_column?: 'ignore' | 'fail';
  on_delete?: 'tombstone' | 'unset' | 'delete' | 'ignore' | 'fail';
  guard?: Guard;
  tags?: Tags;
  owner?: Owner;
  frequency?: 'hourly' | 'daily' | 'weekly' | 'api';
}
export interface DefaultsOfPath {
  /**
   * false: checked, but neither compiled nor run; its state stays
   */
  enabled?: boolean;
  /**
   * Zone of naive timestamps, as in the IANA database; UTC if left out
   */
  timezone?: string;
  /**
   * How far back rows may arrive late, like 6h
   */
  late_window?: string;
  properties?: {
    exclude?: string[];
    rename?: {
      [k: string]: string;
    };
    types?: {
      [k: string]: 'string' | 'json';
    };
    case?: 'lower' | 'upper';
  };
  on_new_column?: 'ignore' | 'fail';
  on_delete?: 'tombstone' | 'unset' | 'delete' | 'ignore' | 'fail';
  guard?: Guard;
  tags?: Tags;
  owner?: Owner;
  frequency?: 'hourly' | 'daily' | 'weekly' | 'api';
  kind?: {
    events?: DefaultsOfKind;
    user_profiles?: DefaultsOfKind;
    group_profiles?: DefaultsOfKind;
    lookup_table?: DefaultsOfKind;
  };
}
export interface Target {
  protected?: boolean;
  vars?: {
    [k: string]: string | number | boolean;
  };
  warehouse: WarehouseSettings;
  mixpanel: 'sandbox' | MixpanelSettings;
  lease?: {
    ttl?: string;
  };
}
/**
 * Named as in a dbt-bigquery profile, besides what syncline adds
 */
export interface BigQuerySettings {
  /**
   * A profile of dbt's profiles.yml: what is not said here is taken from it when connecting
   */
  dbt_profile?: string;
  /**
   * A target of that profile, where it is not the profile's own
   */
  dbt_target?: string;
  type: 'bigquery';
  /**
   * oauth: what the environment gives (application default credentials, workload identity)
   */
  method?: 'oauth' | 'service-account' | 'service-account-json' | 'oauth-secrets';
  /**
   * Where jobs run and where the staging dataset is
   */
  project: string;
  /**
   * dbt's own; not used
   */
  dataset?: string;
  /**
   * dbt's own; not used
   */
  schema?: string;
  /**
   * dbt's own; not used
   */
  threads?: number;
  /**
   * Where the sources are, such as EU; jobs run and the staging dataset is made there
   */
  location?: string;
  /**
   * For `method: service-account`: the file of a key, or of a workload identity
   */
  keyfile?: string;
  /**
   * For `method: service-account-json`: what such a file says
   */
  keyfile_json?: {};
  /**
   * For `method: oauth-secrets`
   */
  token?: string;
  /**
   * For `method: oauth-secrets`
   */
  refresh_token?: string;
  /**
   * For `method: oauth-secrets`
   */
  client_id?: string;
  /**
   * For `method: oauth-secrets`
   */
  client_secret?: string;
  /**
   * The account that jobs run as
   */
  impersonate_service_account?: string;
  priority?: 'interactive' | 'batch';
  /**
   * A statement that would read more fails before it reads; `maximum_bytes_billed` is dbt's name of it
   */
  max_bytes_billed?: number;
  maximum_bytes_billed?: number;
  /**
   * A statement that takes longer is ended
   */
  job_execution_timeout_seconds?: number;
  /**
   * dbt's own; not used
   */
  job_creation_timeout_seconds?: number;
  /**
   * dbt's own; not used
   */
  job_retries?: number;
  /**
   * dbt's own; not used
   */
  job_retry_deadline_seconds?: number;
  /**
   * Of the service, where it is not Google's own
   */
  api_endpoint?: string;
  /**
   * A dataset of the project; none: no write access
   */
  staging?: string;
  /**
   * Of a gigabyte that leaves the warehouse, for `plan`
   */
  egress_price?: number;
  /**
   * Whom the SQL of `setup` gives rights, such as serviceAccount:sync@acme.iam.gserviceaccount.com
   */
  grantee?: string;
  /**
   * What the grantee may read: the sources, or all of their datasets
   */
  grant_scope?: 'table' | 'schema';
}
export interface DuckDBSettings {
  /**
   * A profile of dbt's profiles.yml: what is not said here is taken from it when connecting
   */
  dbt_profile?: string;
  /**
   * A target of that profile, where it is not the profile's own
   */
  dbt_target?: string;
  type: 'duckdb';
  path: string;
  /**
   * none: no write access
   */
  staging?: string;
  /**
   * Of a gigabyte that leaves the warehouse, for `plan`
   */
  egress_price?: number;
  /**
   * DuckDB's own settings, named as in a dbt-duckdb profile
   */
  settings?: {
    memory_limit?: string;
    threads?: number;
    temp_directory?: string;
  };
}
/**
 * Named as in a dbt-postgres profile, besides what syncline adds
 */
export interface PostgresSettings {
  /**
   * A profile of dbt's profiles.yml: what is not said here is taken from it when connecting
   */
  dbt_profile?: string;
  /**
   * A target of that profile, where it is not the profile's own
   */
  dbt_target?: string;
  type: 'postgres';
  host: string;
  port?: number;
  user: string;
  password?: string;
  dbname: string;
  /**
   * dbt's own; not used
   */
  schema?: string;
  /**
   * dbt's own; not used
   */
  threads?: number;
  search_path?: string;
  role?: string;
  /**
   * Seconds
   */
  keepalives_idle?: number;
  /**
   * Seconds
   */
  connect_timeout?: number;
  sslmode?: 'verify-full' | 'verify-ca' | 'require' | 'disable';
  /**
   * File of the certificate authority
   */
  sslrootcert?: string;
  sslcert?: string;
  sslkey?: string;
  /**
   * none: no write access
   */
  staging?: string;
  /**
   * Of a gigabyte that leaves the warehouse, for `plan`
   */
  egress_price?: number;
  /**
   * What one statement may take, such as 30m
   */
  statement_timeout?: string;
  /**
   * The role that `apply` connects as, for the SQL of `setup`
   */
  grantee?: string;
  /**
   * What the grantee may read: the sources, or all of their schemas
   */
  grant_scope?: 'table' | 'schema';
  /**
   * The role that makes the sources anew, such as the one of dbt
   */
  creator?: string;
}
/**
 * Named as in a dbt-redshift profile, besides what syncline adds
 */
export interface RedshiftSettings {
  /**
   * A profile of dbt's profiles.yml: what is not said here is taken from it when connecting
   */
  dbt_profile?: string;
  /**
   * A target of that profile, where it is not the profile's own
   */
  dbt_target?: string;
  type: 'redshift';
  host: string;
  port?: number;
  /**
   * iam: temporary credentials of AWS instead of a password
   */
  method?: 'database' | 'iam';
  user?: string;
  password?: string;
  dbname: string;
  /**
   * dbt's own; not used
   */
  schema?: string;
  /**
   * dbt's own; not used
   */
  threads?: number;
  /**
   * For `method: iam`; the first part of the host where it is left out
   */
  cluster_id?: string;
  /**
   * For `method: iam`; the first part of a serverless host where it is left out
   */
  serverless_work_group?: string;
  /**
   * A profile of the AWS configuration; where it is left out, what the environment gives
   */
  iam_profile?: string;
  /**
   * Of AWS; the one in the host where it is left out
   */
  region?: string;
  access_key_id?: string;
  secret_access_key?: string;
  /**
   * Makes the user where there is none, for `method: iam`
   */
  autocreate?: boolean;
  /**
   * Groups of the user for the session, for `method: iam`
   */
  db_groups?: string[];
  /**
   * dbt's own; not used
   */
  ra3_node?: boolean;
  /**
   * dbt's own; not used
   */
  autocommit?: boolean;
  /**
   * dbt's own; not used
   */
  retries?: number;
  /**
   * Seconds
   */
  keepalives_idle?: number;
  /**
   * Seconds
   */
  connect_timeout?: number;
  sslmode?: 'verify-full' | 'verify-ca' | 'require' | 'disable';
  /**
   * File of the certificate authority
   */
  sslrootcert?: string;
  /**
   * none: no write access
   */
  staging?: string;
  /**
   * Of a gigabyte that leaves the warehouse, for `plan`
   */
  egress_price?: number;
  /**
   * What one statement may take, such as 30m
   */
  statement_timeout?: string;
  /**
   * The user that `apply` connects as, or `role:name` or `group:name`, for the SQL of `setup`
   */
  grantee?: string;
  /**
   * What the grantee may read: the sources, or all of their schemas
   */
  grant_scope?: 'table' | 'schema';
  /**
   * The user that makes the sources anew, such as the one of dbt
   */
  creator?: string;
}
export interface MixpanelSettings {
  host?: string;
  region?: 'us' | 'eu' | 'in';
  project_id?: string | number;
  token?: string;
  service_account?: {
    username: string;
    secret: string;
  };
  id_management?: 'simplified' | 'original';
  retry?: {
    initial?: string;
    max?: string;
    attempts?: number;
  };
  request_timeout?: string;
  rate_limit?: {
    events_per_second?: number;
    bytes_per_minute?: string | number;
  };
}

/**
 * One entry of syncs: in syncs/*.yml
 */
export interface Sync {
  name: string;
  kind: 'events' | 'user_profiles' | 'group_profiles' | 'lookup_table';
  mode: 'mirror' | 'append' | 'full' | 'one_time';
  strategy?: 'auto' | 'snapshot' | 'checksum' | 'watermark' | 'all';
  /**
   * false: checked, but neither compiled nor run; its state stays
   */
  enabled?: boolean;
  source: {
    relation: string;
  };
  /**
   * A condition over the source's columns
   */
  where?: string;
  event?:
    | string
    | {
        column: string;
      };
  time?: string;
  /**
   * Zone of naive timestamps, as in the IANA database; UTC if left out
   */
  timezone?: string;
  user_id?: string;
  device_id?: string;
  /**
   * Group key of the Mixpanel project
   */
  group_key?: string;
  group_id?: string;
  id?: string;
  lookup_table_id?: string;
  key?: string | string[];
  insert_time?: string;
  /**
   * The former name of this sync, whose state and ids it keeps
   */
  renamed_from?: string;
  /**
   * skip: the first run adopts what is already in Mixpanel, and sends nothing
   */
  initial?: 'send' | 'skip';
  /**
   * How far back rows may arrive late, like 6h
   */
  late_window?: string;
  history?: {
    start_time: string;
    end_time?: string;
  };
  /**
   * A column with a JSON object, flattened one level
   */
  json_properties?: string;
  properties?: {
    exclude?: string[];
    rename?: {
      [k: string]: string;
    };
    types?: {
      [k: string]: 'string' | 'json';
    };
    case?: 'lower' | 'upper';
  };
  on_new_column?: 'ignore' | 'fail';
  on_delete?: 'tombstone' | 'unset' | 'delete' | 'ignore' | 'fail';
  guard?: {
    max_deletes?: number | string;
    max_changes?: number;
    on_empty_source?: 'fail' | 'allow';
    max_rejects?: number;
  };
  tags?: string[];
  owner?: {
    name?: string;
    email?: string;
  };
  frequency?: 'hourly' | 'daily' | 'weekly' | 'api';
  /**
   * What was decided for one change of the mapping, by its hash as plan prints it
   */
  decisions?: {
    [k: string]: 'resend' | 'forward';
  };
}
