import { RunError } from '../errors.ts';
import type { Batch, BatchResult, Failure, Verdict } from './batch.ts';
import { countOf, createNarrowing, errorOf, fatal, linesOf, namedRecords, parse, text } from './batch.ts';
import type { Reply, Sender, Watch } from './http.ts';
import { post } from './http.ts';

/** User profiles go to `/engage`, group profiles to `/groups`. */
export type ProfileEndpoint = 'engage' | 'groups';

export type SendProfiles = (endpoint: ProfileEndpoint, batch: Batch, watch: Watch) => Promise<BatchResult>;

/** `ip=0`: the address of the sender is no place of a user (documentation: User Profiles, Geolocation). */
const QUERY = new URLSearchParams({ ip: '0', strict: '1', verbose: '2' }).toString();
const WHAT = 'the token of the target';

/**
 * A client of `POST /engage` and `POST /groups` (documentation: Update Multiple Profiles, Batch Update Group Profiles;
 * OpenAPI: ingestion). `strict=1` promises errors per record without saying in which shape; `verbose=2`, as in the
 * sample of User Profiles, gives at least the reason as JSON. Neither endpoint takes gzip. Batches are sent again
 * after trouble, so they should hold operations that may be repeated (`$set`, `$unset`, `$delete`).
 */
export function createProfiles(sender: Sender, token: string | undefined): SendProfiles {
  const known = token === '' ? undefined : token;
  const endpoint = (name: ProfileEndpoint) =>
    createNarrowing(
      (batch, watch) => ask(sender, `/${name}`, known ?? '', batch, watch),
      name === 'groups' ? `Check ${WHAT}, its host and the group keys of the project.` : `Check ${WHAT} and its host.`,
    );
  const endpoints = { engage: endpoint('engage'), groups: endpoint('groups') };
  return async (name, batch, watch) => {
    if (known === undefined)
      throw new RunError(
        'mixpanel-unauthorized',
        'Profiles need to know the token of their Mixpanel project. Set token of the target.',
        { retryable: false },
      );
    return endpoints[name](batch, watch);
  };
}

const HEADERS = { 'content-type': 'application/json', accept: 'application/json' };

async function ask(sender: Sender, path: string, token: string, batch: Batch, watch: Watch): Promise<Verdict> {
  const records = countOf(batch);
  const body = Buffer.from(toArray(batch, token));
  const url = `${sender.host}${path}?${QUERY}`;
  const reply = await post(sender, { url, headers: HEADERS, body, records, bytes: body.length }, watch);
  const { status, maybe } = reply;
  if (status === 413) return { refusal: 'too-large', reason: errorOf(reply), maybe };
  const verdict = status === 200 || status === 400 ? verdictOf(reply, records) : undefined;
  if (verdict) return verdict;
  throw status === 200 ? unreadable(reply, sender.host, path) : fatal(reply, sender.host, path, WHAT);
}

/** The token goes in by text, so that digits stay exact; it stands nowhere else. */
function toArray(batch: Batch, token: string): string {
  const first = `{"$token":${JSON.stringify(token)}`;
  const records = linesOf(batch).map((line) => {
    if (!line.startsWith('{')) throw new Error('An update of a profile is no JSON object.');
    return line === '{}' ? `${first}}` : `${first},${line.slice(1)}`;
  });
  return `[${records.join(',\n')}]`;
}

/**
 * Status 200 says nothing (documentation: Set User Profile Property), the body decides: `1` and `0` as text, `status`
 * and `error` with `verbose`, `failed_records` and `num_good_events` with `strict` (mixpanel-import reads them).
 * Undefined when it is none of these.
 */
function verdictOf(reply: Reply, records: number): Verdict | undefined {
  const { maybe, status } = reply;
  const plain = reply.body.trim();
  if (plain === '1' && status === 200) return { settled: { refused: [], maybe, notes: [] } };
  const said = parse(reply.body);
  const refused = namedRecords(reply.body, records) ?? [];
  const good = said?.num_good_events;
  const accepted = records - refused.length;
  if (refused.length > 0)
    return {
      settled: { refused, maybe, notes: notesOf(good, accepted) },
      othersUnsent: typeof good === 'number' && good < accepted,
    };
  if (plain === '0') return { refusal: 'unnamed', reason: 'refused without a reason', maybe };
  if (status === 400 || (said && isRefusal(said))) return { refusal: 'unnamed', reason: errorOf(reply), maybe };
  if (said && isSuccess(said)) return { settled: { refused: [], maybe, notes: notesOf(good, accepted) } };
  return undefined;
}

/** `status` is a number or a text, `error` is null, empty or absent when all is well. */
const isRefusal = ({ code, status, error, failed_records: failed }: Failure): boolean =>
  (Array.isArray(failed) && failed.length > 0) ||
  text(error) !== undefined ||
  status === 0 ||
  (text(status) ?? 'ok').toLowerCase() !== 'ok' ||
  (typeof code === 'number' && code >= 400);

const isSuccess = ({ code, status }: Failure): boolean => status === 1 || text(status) !== undefined || code === 200;

/** A count that differs is told, not trusted. */
function notesOf(good: unknown, accepted: number): string[] {
  if (typeof good !== 'number' || good === accepted) return [];
  return [`Mixpanel says that it stored ${good} updates of profiles where ${accepted} were accepted.`];
}

function unreadable(reply: Reply, host: string, path: string): RunError {
  return new RunError(
    'mixpanel-rejected',
    `${host} answered ${path} without saying whether it stored the updates (${errorOf(reply)}). Check that the host of the target is Mixpanel's ingestion host.`,
    { retryable: false },
  );
}
