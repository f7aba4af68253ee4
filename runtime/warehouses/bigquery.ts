import path from 'node:path';
import type { BigQuery, Job, Query as JobOptions } from '@google-cloud/bigquery';
import type { AuthClient } from 'google-auth-library';
import type { BigQuerySettings } from '../../schemas/types.ts';
import { masked, RunError } from '../errors.ts';
import type { World } from '../world.ts';
import type { Connection, Query, Row, Warehouse } from './warehouse.ts';

/** A statement whose job failed for a reason that passes is tried so often. */
const ATTEMPTS = 5;
/**
 * Jobs that read the outbox at a time: one takes a second or two before its first row, and reads some batches of 2,000
 * records, so that these give 30,000 records a second.
 */
const READERS = 8;
/** Answers about one job that may fail to arrive, one after the other. */
const UNANSWERED = 5;
const GRANTING = 'bigquery.tables.setIamPolicy';
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';

export type BigQueryWorld = Pick<World, 'sleep' | 'random' | 'randomId' | 'readFile'>;

/** Opens a project; that it can be reached is proven by the first statement. A connection is no session: jobs know nothing of each other. */
export async function openBigQuery(
  world: BigQueryWorld,
  settings: BigQuerySettings,
  { dir }: { readonly dir: string },
): Promise<Warehouse> {
  const { BigQuery } = await import('@google-cloud/bigquery');
  const authClient = await clientOf(world, settings, dir);
  const client = new BigQuery({
    projectId: settings.project,
    ...(settings.location === undefined ? {} : { location: settings.location }),
    ...(settings.api_endpoint === undefined ? {} : { apiEndpoint: settings.api_endpoint }),
    ...(authClient === undefined ? {} : { authClient }),
    userAgent: 'syncline',
    // Whether a request may be made again depends on the job that it is about.
    retryOptions: { autoRetry: false },
  });
  const name = `${settings.project} on BigQuery`;
  return {
    name,
    readers: READERS,
    connect: () => Promise.resolve(new BigQueryConnection(world, client, settings, name)),
    close: () => Promise.resolve(),
  };
}

/** What a file of credentials says, whichever of the three kinds it is (documentation: Authentication at Google). */
interface Key {
  readonly type?: string;
  readonly client_email?: string;
  readonly private_key?: string;
  readonly private_key_id?: string;
  readonly client_id?: string;
  readonly client_secret?: string;
  readonly refresh_token?: string;
}

/** Who connects, as dbt's profiles say it (documentation of dbt: BigQuery setup). Undefined: what the environment gives. */
async function clientOf(
  world: BigQueryWorld,
  settings: BigQuerySettings,
  dir: string,
): Promise<AuthClient | undefined> {
  const { method = 'oauth', keyfile, keyfile_json, token, impersonate_service_account: target } = settings;
  const auth = await import('google-auth-library');
  const missing = (key: string): RunError =>
    unavailable(`\`method: ${method}\` needs \`${key}\`. Name it in the target's \`warehouse:\`.`);
  const fromKey = (key: Key, from: string): AuthClient => {
    const { client_email: email, private_key, private_key_id: keyId, client_id, client_secret, refresh_token } = key;
    if (key.type === 'service_account' && email !== undefined && private_key !== undefined)
      return new auth.JWT({ email, key: private_key, ...(keyId === undefined ? {} : { keyId }), scopes: [SCOPE] });
    if (refresh_token !== undefined && client_id !== undefined && client_secret !== undefined)
      return new auth.UserRefreshClient(client_id, client_secret, refresh_token);
    const external =
      key.type === 'external_account'
        ? auth.ExternalAccountClient.fromJSON(key as Parameters<typeof auth.ExternalAccountClient.fromJSON>[0])
        : null;
    if (external === null)
      throw unavailable(`${from} is no key of a service account, and none of a workload identity. Make one anew.`);
    external.scopes = [SCOPE];
    return external;
  };
  const own = async (): Promise<AuthClient | undefined> => {
    switch (method) {
      case 'oauth':
        return undefined;
      case 'service-account': {
        if (keyfile === undefined) throw missing('keyfile');
        const text = await world.readFile(path.resolve(dir, keyfile)).catch(() => undefined);
        if (text === undefined) throw unavailable(`The key file ${keyfile} cannot be read. Check \`keyfile\`.`);
        return fromKey(keyOf(text), keyfile);
      }
      case 'service-account-json':
        if (keyfile_json === undefined) throw missing('keyfile_json');
        return fromKey(keyfile_json, '`keyfile_json`');
      case 'oauth-secrets': {
        if (token === undefined) return fromKey(settings, '`refresh_token` with `client_id` and `client_secret`');
        const client = new auth.OAuth2Client();
        client.setCredentials({ access_token: token });
        return client;
      }
    }
  };
  const sourceClient = await own();
  if (target === undefined) return sourceClient;
  return new auth.Impersonated({
    sourceClient: sourceClient ?? (await new auth.GoogleAuth({ scopes: SCOPE }).getClient()),
    targetPrincipal: target,
    targetScopes: [SCOPE],
  });
}

function keyOf(text: string): Key {
  try {
    return JSON.parse(text) as Key;
  } catch {
    return {};
  }
}

/** What the service said of a job or a request. */
interface Failure {
  readonly reason: string;
  readonly message: string;
}

interface Metadata {
  readonly status?: { readonly state?: string; readonly errorResult?: Failure };
  readonly statistics?: {
    readonly totalBytesProcessed?: string;
    readonly query?: { readonly numDmlAffectedRows?: string };
  };
}

interface Page {
  readonly rows: readonly Row[];
  /** What a page of results says of it; the job's own statistics always do. */
  readonly affected: string | undefined;
  readonly next: string | undefined;
}

interface Running {
  readonly job: Job;
  /** True once a person stopped it. */
  isStopped: boolean;
}

class BigQueryConnection implements Connection {
  readonly #world: BigQueryWorld;
  readonly #client: BigQuery;
  readonly #settings: BigQuerySettings;
  readonly #name: string;
  /** Ids of this connection's jobs are its own: whoever sends one again means the same execution. */
  readonly #id: string;
  #count = 0;
  /** The job of the statement that runs, from before its start is asked for. */
  #running: Running | undefined;

  constructor(world: BigQueryWorld, client: BigQuery, settings: BigQuerySettings, name: string) {
    this.#world = world;
    this.#client = client;
    this.#settings = settings;
    this.#name = name;
    this.#id = world.randomId().slice(0, 12);
  }

  /** Ends the job that runs; what it has not written by then it does not write (documentation: jobs.cancel). */
  interrupt(): void {
    if (this.#running === undefined) return;
    this.#running.isStopped = true;
    cancel(this.#running.job);
  }

  async execute(query: Query): Promise<number> {
    const [job, { affected }] = await this.#run(query);
    if (affected !== undefined) return Number(affected);
    const { statistics } = await this.#answered(query, () => this.#metadataOf(job.id ?? ''));
    return Number(statistics?.query?.numDmlAffectedRows ?? 0);
  }

  async rows(query: Query): Promise<readonly Row[]> {
    const rows: Row[] = [];
    for await (const page of this.stream(query)) rows.push(...page);
    return rows;
  }

  async *stream(query: Query): AsyncGenerator<readonly Row[]> {
    const [job, first] = await this.#run(query);
    let page = first;
    for (;;) {
      if (page.rows.length > 0) yield page.rows;
      if (page.next === undefined) return;
      const token = page.next;
      page = await this.#answered(query, () => pageOf(job, token));
    }
  }

  /** Bytes that a statement would read (documentation: Estimate and control costs). Nothing runs. */
  async estimate(query: Query): Promise<number> {
    const options = { ...this.#options(query), dryRun: true };
    const [job] = await this.#answered(query, () => this.#client.createQueryJob(options));
    const { statistics } = job.metadata as Metadata;
    return Number(statistics?.totalBytesProcessed ?? 0);
  }

  /** What an owner of a table may do and an editor may not (documentation: tables.testIamPermissions; IAM roles). */
  async mayGrant(schema: string, table: string): Promise<boolean> {
    const asked = this.#client.dataset(schema).table(table).testIamPermissions(GRANTING);
    const [{ permissions = [] }] = await asked.catch((): [{ permissions?: string[] }] => [{}]);
    return permissions.includes(GRANTING);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #options(query: Query): JobOptions {
    const { max_bytes_billed, maximum_bytes_billed = max_bytes_billed, priority, location } = this.#settings;
    const timeout = this.#settings.job_execution_timeout_seconds;
    const [sync = '', statement = sync] = query.label.split('/');
    return {
      query: query.sql,
      // The service takes numbers as texts.
      params: Object.fromEntries(query.binds.map((b) => [b.name, b.value === null ? null : String(b.value)])),
      types: Object.fromEntries(query.binds.map((b) => [b.name, b.type === 'integer' ? 'INT64' : 'STRING'])),
      labels: { app: 'syncline', sync: labelOf(sync), statement: labelOf(statement.replace(/\.sql$/, '')) },
      ...(maximum_bytes_billed === undefined ? {} : { maximumBytesBilled: String(maximum_bytes_billed) }),
      ...(priority === undefined ? {} : { priority: priority.toUpperCase() }),
      ...(location === undefined ? {} : { location }),
      ...(timeout === undefined ? {} : { jobTimeoutMs: timeout * 1000 }),
    };
  }

  /**
   * Runs a statement as a job of its own. A job that is known to have failed did nothing, so one that failed for a
   * reason that passes runs again under the id of the next attempt; as long as its end is unknown the id stays.
   */
  async #run(query: Query): Promise<readonly [Job, Page]> {
    const id = `syncline_${idOf(query.label)}_${query.run ?? 0}_${this.#id}_${++this.#count}`;
    for (let attempt = 1; ; attempt++) {
      const job = this.#client.job(`${id}_${attempt}`, this.#place());
      const running: Running = { job, isStopped: false };
      this.#running = running;
      try {
        const started = await this.#start(query, job.id ?? '');
        // What was not on record when it was cancelled is by now.
        if (running.isStopped) cancel(started);
        return [started, await this.#end(started)];
      } catch (error) {
        const failure = failureOf(error);
        if (attempt === ATTEMPTS || !(error instanceof JobFailed) || !isPassing(failure) || running.isStopped)
          throw this.#failed(query, failure);
        await this.#pause(attempt);
      } finally {
        this.#running = undefined;
      }
    }
  }

  async #start(query: Query, jobId: string): Promise<Job> {
    for (let tries = 1; ; tries++) {
      try {
        const [job] = await this.#client.createQueryJob({ ...this.#options(query), jobId });
        return job;
      } catch (error) {
        const code = codeOf(error);
        if (code === 409) return this.#client.job(jobId, this.#place());
        // A request that is refused leaves nothing on record.
        if (code !== undefined && code < 500) throw new JobFailed(failureOf(error));
        // The answer was lost, or tells that the job failed: what is on record of it decides.
        const missing = await this.#metadataOf(jobId).then(
          () => undefined,
          (reason: unknown) => codeOf(reason) ?? 0,
        );
        if (missing === undefined) return this.#client.job(jobId, this.#place());
        // Not on record, or nobody says: the same id makes it the same job.
        if (tries === UNANSWERED || this.#running?.isStopped === true) throw error;
        await this.#pause(tries);
      }
    }
  }

  /** Waits for a job's end. @returns the first page of its rows */
  async #end(job: Job): Promise<Page> {
    for (let unanswered = 0; ;) {
      try {
        return await pageOf(job);
      } catch (error) {
        const failure = await this.#failureOf(job.id ?? '').catch(() => undefined);
        if (failure) throw new JobFailed(failure);
        if (++unanswered === UNANSWERED || !isUnanswered(error)) throw error;
        await this.#pause(unanswered);
      }
    }
  }

  /** Why a job failed; undefined while it runs, or when it did not. */
  async #failureOf(jobId: string): Promise<Failure | undefined> {
    const { state, errorResult } = (await this.#metadataOf(jobId)).status ?? {};
    return state === 'DONE' ? errorResult : undefined;
  }

  async #metadataOf(jobId: string): Promise<Metadata> {
    const [metadata] = (await this.#client.job(jobId, this.#place()).getMetadata()) as readonly unknown[];
    return metadata as Metadata;
  }

  /** What a request that changes nothing is answered, when it is asked again where no answer came. */
  async #answered<T>(query: Query, ask: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++)
      try {
        return await ask();
      } catch (error) {
        if (tries === UNANSWERED || !isUnanswered(error)) throw this.#failed(query, failureOf(error));
        await this.#pause(tries);
      }
  }

  #failed(query: Query, failure: Failure): RunError {
    const { token, refresh_token, client_secret, keyfile_json } = this.#settings;
    const secrets = [token, refresh_token, client_secret, (keyfile_json as Key | undefined)?.private_key];
    return masked(
      failed(this.#name, query, failure),
      secrets.filter((s) => s !== undefined),
    );
  }

  #pause(tries: number): Promise<void> {
    return this.#world.sleep((0.5 + this.#world.random()) * 500 * 2 ** tries);
  }

  #place(): { location?: string } {
    const { location } = this.#settings;
    return location === undefined ? {} : { location };
  }
}

/** A job that ended without doing anything. */
class JobFailed extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** Asks for a job's end; one that nobody knows, or that is done, stays as it is. */
const cancel = (job: Job): void => void job.cancel().catch(() => undefined);

/** A page of a job's rows, once it is done. */
function pageOf(job: Job, pageToken?: string): Promise<Page> {
  const options = { autoPaginate: false, ...(pageToken === undefined ? {} : { pageToken }) };
  return new Promise((resolve, reject) => {
    const ask = (): void =>
      job.getQueryResults(options, (error, rows, next, response) => {
        if (error) return reject(error);
        const answer = (response ?? {}) as { jobComplete?: boolean; numDmlAffectedRows?: string };
        if (answer.jobComplete === false) return ask();
        resolve({
          rows: (rows ?? []).map(plain),
          affected: answer.numDmlAffectedRows,
          next: (next as { pageToken?: string } | null)?.pageToken,
        });
      });
    ask();
  });
}

/** Statements give texts, integers and truth values only. */
const plain = (row: Readonly<Record<string, string | number | boolean | null>>): Row =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, typeof value === 'boolean' ? Number(value) : value]),
  );

/** Letters, digits, `_` and `-` (documentation: jobs.insert). */
const idOf = (label: string): string =>
  label
    .replace(/\.sql$/, '')
    .replace(/[^A-Za-z0-9-]+/g, '_')
    .slice(0, 100);
/** Lower-case letters, digits, `_` and `-`, 63 at most (documentation: Labels). */
const labelOf = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '_')
    .slice(0, 63);

const codeOf = (error: unknown): number | undefined => {
  if (error instanceof JobFailed) return 400;
  const { code } = error as { code?: string | number };
  return typeof code === 'number' ? code : undefined;
};

/** True where the service said nothing, or that it cannot say anything now. */
function isUnanswered(error: unknown): boolean {
  const code = codeOf(error);
  return code === undefined ? (error as { errors?: unknown }).errors === undefined : code >= 500 || code === 429;
}

function failureOf(error: unknown): Failure {
  if (error instanceof JobFailed) return error.failure;
  const { errors, message, code } = error as {
    errors?: readonly Partial<Failure>[];
    message?: string;
    code?: string | number;
  };
  const [first] = errors ?? [];
  return {
    reason: first?.reason ?? String(code ?? ''),
    message: first?.message ?? message ?? String(error),
  };
}

/** Failures that pass by themselves (documentation: Error messages; Concurrency of DML statements). */
const isPassing = ({ reason, message }: Failure): boolean =>
  [
    'backendError',
    'internalError',
    'jobBackendError',
    'jobInternalError',
    'rateLimitExceeded',
    'jobRateLimitExceeded',
  ].includes(reason) || CONCURRENT.test(message);
const CONCURRENT = /concurrent (update|transaction)|Could not serialize access/i;

const unavailable = (message: string, retryable = false): RunError =>
  new RunError('warehouse-unavailable', message, { retryable });

/** What a job or a request failed with, in words (documentation: Error messages). */
function failed(name: string, { label }: Query, { reason, message: full }: Failure): RunError {
  const message = full.replace(/[.!\s]+$/, '');
  const failure = (retryable: boolean, hint?: string): RunError =>
    new RunError('warehouse-error', `${label}: ${message}`, { retryable, hint });
  if (/default credentials|invalid_grant|ENOENT|unauthorized|Invalid Credentials/i.test(`${reason} ${message}`))
    return unavailable(
      `The warehouse ${name} refuses the login: ${message}. Check \`method\` and the key, or run \`gcloud auth application-default login\`.`,
    );
  if (CONCURRENT.test(message))
    return new RunError('warehouse-conflict', `${label}: ${message}`, {
      retryable: true,
      hint: 'Run the same command again when the other statement is done: it goes on from what is on record.',
    });
  switch (reason) {
    case 'accessDenied':
    case '403':
      // Who names another's project, or one that is not there, is told the same.
      if (/Access Denied: Project/i.test(message))
        return failure(
          false,
          `Check \`project\` of the target. If it is the right one, the account lacks roles/bigquery.jobUser in it: \`syncline setup\` prints the SQL that gives it.`,
        );
      return failure(
        false,
        'Give the account that syncline connects as this right: `syncline setup` prints what it needs.',
      );
    case 'notFound':
      return new RunError('not-found', `${label}: ${message}`, {
        retryable: false,
        hint: 'Check `project` and `location` of the target and the `relation:`: a dataset is found only where it is.',
      });
    case 'bytesBilledLimitExceeded':
      return failure(false, 'It would read more than `max_bytes_billed` of the target allows. Nothing was billed.');
    case 'quotaExceeded':
      return failure(true, 'A quota of the project is used up. Run it again later, or raise the quota.');
    case 'stopped':
    case 'timeout':
      return failure(true, 'If it took too long, raise `job_execution_timeout_seconds` of the target.');
  }
  if (
    reason === '' ||
    /^(ECONN|ENOTFOUND|EAI_AGAIN|EHOST|ENET|ETIMEDOUT|EPIPE|5\d\d)/.test(reason) ||
    /socket hang up/.test(message)
  )
    return unavailable(
      `The connection to ${name} was lost during ${label}: ${message || reason}. Run the same command again, after at most the time of a lease: it goes on from what is on record.`,
      true,
    );
  return failure(isPassing({ reason, message }));
}
